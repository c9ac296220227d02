"""The typed configuration: what `args` of a config file may hold."""
