"""The engines, each behind one interface, and the replica that runs one. It imports `contract` and nothing else."""
