"""The routes: one file for each endpoint that models answer, and the plain ones."""
