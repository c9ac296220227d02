"""What is wrong in a config file: everything, each with its place, and not the first of it only."""
