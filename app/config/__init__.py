"""The typed configuration: what may be under `args` of a config file."""
