"""What makes two requests belong to one replica: a session that the client names, or the beginning of a prompt.

Both become digests here, once, from the parsed body: no router parses anything, and nothing a client wrote goes on.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from app.config.routing import Routing

SESSION_HEADER = "x-session-id"
BLOCK_BYTES = 512  # of a prompt's text, about a hundred tokens
MAX_BLOCKS = 128  # so that the longest prompt costs well under a millisecond
MAX_TEXTS = 8192  # however short they are; each costs a microsecond
DIGEST_BYTES = 8
# Fields that stand at the beginning of a prompt, in the order in which templates write them.
BEFORE_THE_TURNS = ("tools", "system", "instructions")
TURNS = ("messages", "input", "prompt")


class Affinity(NamedTuple):
    """What a request's router needs to know; empty where the model is routed by load alone."""

    session: str = ""
    prefix: tuple[int, ...] = ()


def affinity(routing: Routing, headers: Mapping[str, str], request: dict[str, Any], adapter: str = "") -> Affinity:
    """What `routing` needs to know of a request, which is for the model itself or for an adapter of it."""
    if routing.policy == "session" and (session := headers.get(SESSION_HEADER)):
        return Affinity(session=hashlib.blake2b(session.encode(), digest_size=2 * DIGEST_BYTES).hexdigest())
    if routing.policy == "prefix":
        return Affinity(prefix=prefix_of(request, adapter))
    return Affinity()


def prefix_of(request: dict[str, Any], adapter: str = "") -> tuple[int, ...]:
    """Digests of the conversation's beginning; what one adapter has cached is of no use to another.

    First that of everything up to the end of its first turn of a user, which all its requests share. Then one for each
    block of the whole, each over all that stands before it; a last block that is not full has none.
    """
    blocks = _Blocks()
    if adapter:
        blocks.feed(adapter)
    for field in BEFORE_THE_TURNS:
        blocks.feed(request.get(field))
    turns: Any = next((request[field] for field in TURNS if request.get(field)), [])
    opening = None
    for turn in turns if isinstance(turns, list) else [{"role": "user", "content": turns}]:
        blocks.feed(turn)
        if opening is None and isinstance(turn, dict) and turn.get("role") == "user":
            opening = blocks.digest()
        if blocks.full:
            break
    return (blocks.digest() if opening is None else opening, *blocks.digests)


class _Blocks:
    """Cuts the texts it is fed into blocks and keeps the digest of each."""

    def __init__(self) -> None:
        self.digests: list[int] = []
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._room = BLOCK_BYTES  # in the block that is being filled
        self._texts = 0  # that were fed

    @property
    def full(self) -> bool:
        return len(self.digests) == MAX_BLOCKS or self._texts == MAX_TEXTS

    def digest(self) -> int:
        """Of all that was fed."""
        return int.from_bytes(self._hash.copy().digest())

    def feed(self, value: Any) -> None:
        """Up to where the blocks are full; what follows is not even looked at."""
        for text in _texts(value):
            if self.full:
                return
            self._texts += 1
            left = memoryview(text[: BLOCK_BYTES * MAX_BLOCKS].encode() + b"\0")
            while left and len(self.digests) < MAX_BLOCKS:
                part, left = left[: self._room], left[self._room :]
                self._hash.update(part)
                self._room -= len(part)
                if not self._room:
                    self.digests.append(self.digest())
                    self._room = BLOCK_BYTES


def _texts(value: Any) -> Iterator[str]:
    """Every text, number and name in a JSON value, in its order; of what has none a text without characters."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield ""
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list):
        yield ""
        for inner in value:
            yield from _texts(inner)
    else:
        yield "" if value is None else str(value)
