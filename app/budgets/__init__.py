"""Budgets of keys: leaky buckets in budget stores, parts of which gateway replicas lease."""
