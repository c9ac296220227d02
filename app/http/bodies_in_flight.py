"""The bytes of the request bodies that a gateway replica holds: bounded in all and for each key, and shared fairly."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.http.body import Receive
from contract.errors import ApiError

NEARLY_FULL = 0.8  # of all bytes; the rest is for keys that have less than their part of that, or no other body


class BodiesInFlight:
    """What all bodies take together. They are counted as they come: a slow client takes no more than it has sent.

    Where nearly all is taken, a key that has its part of it, by weight, gets no more than one body.
    """

    def __init__(self) -> None:
        self._max_bytes = self._max_bytes_per_key = 0
        self._bytes = 0
        self._by_key: Counter[str] = Counter()
        self._weights: dict[str, int] = {}  # of the keys that have some

    def resize(self, max_bytes: int, max_bytes_per_key: int) -> None:
        """From now on all may have `max_bytes`, and those of a key so many of them."""
        self._max_bytes, self._max_bytes_per_key = max_bytes, max_bytes_per_key

    @contextmanager
    def hold(self, key_id: str, weight: int) -> Iterator["HeldBody"]:
        """A body of this key, for as long as the request that it brings is in memory."""
        held = HeldBody(self, key_id, weight)
        try:
            yield held
        finally:
            self._bytes -= held.size
            self._by_key[key_id] -= held.size
            if not self._by_key[key_id]:
                del self._by_key[key_id]
                self._weights.pop(key_id, None)

    def need(self, size: int, key_id: str, weight: int, come: int = 0) -> None:
        """Raises ApiError `overloaded` where there is no room for so many more bytes of a body of which `come` came."""
        most: float = self._max_bytes_per_key
        if self._by_key[key_id] > come:  # beside other bodies: a part may be less than one legal body
            most = min(most, self._part(size, key_id, weight))
        if self._by_key[key_id] + size > most:
            whose = "The requests with this API key that are under way"
        elif self._bytes + size > self._max_bytes:
            whose = "The requests that are under way"
        else:
            return
        raise ApiError("overloaded", f"{whose} are as large together as they may be. Retry when some have ended.")

    def add(self, size: int, key_id: str, weight: int) -> None:
        self._bytes += size
        self._by_key[key_id] += size
        self._weights[key_id] = weight

    def _part(self, size: int, key_id: str, weight: int) -> float:
        """How many bytes this key may have where all have `size` more of them."""
        shared = NEARLY_FULL * self._max_bytes
        if self._bytes + size <= shared or self._bytes == self._by_key[key_id]:  # or no other key has any
            return self._max_bytes
        return shared * weight / sum((self._weights | {key_id: weight}).values())


class HeldBody:
    """One body, as much of it as has come."""

    def __init__(self, bodies: BodiesInFlight, key_id: str, weight: int) -> None:
        self.size = 0
        self._bodies = bodies
        self._key = key_id, weight

    def counted(self, receive: Receive, announced: int) -> Receive:
        """`receive`, which ends the request where its body, or what is `announced` of it, has no room."""

        async def receiving() -> Any:
            if not self.size:
                self._bodies.need(announced, *self._key, self.size)
            message = await receive()
            size = len(message.get("body", b""))
            if size:  # the last message of a body that is whole may be empty
                self._bodies.need(size, *self._key, self.size)
                self._bodies.add(size, *self._key)
                self.size += size
            return message

        return receiving
