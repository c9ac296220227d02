"""The requests that one gateway replica has open at all its models, by key: one key does not fill the gateway."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from contract.errors import ApiError

NEARLY_FULL = 0.8  # of what the replica takes; the rest is for keys that have less than their part of that


class OpenRequests:
    """Where the replica is nearly full, a key that has its part of it, by weight, gets no more."""

    def __init__(self) -> None:
        self._limit = 1.0
        self._open: Counter[str] = Counter()
        self._weights: dict[str, int] = {}  # of the keys that have one open

    def resize(self, most: int) -> None:
        """From now on the replica takes `most` requests at once."""
        self._limit = NEARLY_FULL * most

    @contextmanager
    def one_more(self, key_id: str, weight: int) -> Iterator[None]:
        """Count one request while it is open. Raises ApiError `overloaded`."""
        self._weights[key_id] = weight
        part = self._limit * weight / sum(self._weights.values())
        if self._open.total() >= self._limit and self._open[key_id] >= part:
            raise ApiError("overloaded", "This key has too many requests open here. Retry when some have ended.")
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id], self._weights[key_id]
