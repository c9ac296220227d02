"""What the gateway and the engines both say. It imports nothing else of this project."""
