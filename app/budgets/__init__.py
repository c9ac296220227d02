"""Budgets of keys: leaky buckets in one shared actor, leased in slices to the ingress replicas."""
