"""The ASGI application: one way through for every route."""
