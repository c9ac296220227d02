"""Who changed what of keys, scopes, budgets and the configuration: one JSON line a change, with before and after."""
