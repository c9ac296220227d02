"""The parameter table: the kinds of values, the rows, and how a request is made legal."""
