"""Images on diffusers."""
