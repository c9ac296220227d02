"""The engines: each one an ASGI application inside a Ray Serve replica."""
