"""What the service reports of itself: metrics and the access log."""
