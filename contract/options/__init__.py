"""Which engines there are, what each can do, and the typed options of each: `engine_kwargs` of a model entry."""
