"""A Serve file for models that are only named: task and engine from their files, sizes from this machine."""
