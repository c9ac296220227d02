"""Bodies of requests and their responses, as HTTP has them."""
