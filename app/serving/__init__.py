"""What ties the gateway to Ray Serve."""
