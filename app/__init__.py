"""The gateway: who asks, what they may ask, which model answers. It imports no engine."""
