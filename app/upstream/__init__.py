"""The models as the gateway sees them: which there are, whether they are up, and the way to them."""
