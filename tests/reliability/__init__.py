"""The service under a steady mixed load while something fails: one test a fault, each with counts at its end."""
