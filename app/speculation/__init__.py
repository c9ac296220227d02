"""Speculative decoding: how a model entry asks for it, what `auto` picks, and how well it works."""
