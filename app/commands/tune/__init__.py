"""`python -m app tune`: which speculative method is best for a model, measured on the user's own prompts."""
