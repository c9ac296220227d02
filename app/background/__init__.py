"""What goes on beside the requests: loops that begin again when they fail, and blocking calls with a time limit."""
