"""The parameter table: every parameter of every route, and what happens to a request that goes beyond it."""
