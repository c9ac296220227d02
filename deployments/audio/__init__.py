"""Audio that clients send, decoded."""
