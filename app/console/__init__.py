"""For people: the page at /, what it shows of models and keys, and the reference at /docs. Beside the hot path."""
