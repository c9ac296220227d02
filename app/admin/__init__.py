"""The routes for operators, under /admin: keys and models."""
