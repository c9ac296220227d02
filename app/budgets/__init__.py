"""Budgets of keys: leaky buckets in one budget store, parts of which gateway replicas lease."""
