"""`python -m app tune`: which way of speculation is best for a model, measured on the user's own prompts."""
