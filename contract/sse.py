"""Server-sent events: the one writer, and the one splitter of a stream of them."""

from typing import Any

import orjson

EVENT_END = b"\n\n"
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"


def event(content: Any, kind: str | None = None) -> bytes:
    """One event with `content` as its data: JSON of it, or the bytes as they are; `kind` is its `event:` line."""
    data = content if isinstance(content, bytes) else orjson.dumps(content)
    return (b"" if kind is None else b"event: %b\n" % kind.encode()) + b"data: " + data + EVENT_END


class Splitter:
    """Whole events out of pieces cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that are whole with this piece, each with the blank line that ends it."""
        *blocks, self._rest = (self._rest + piece).split(EVENT_END)
        return [block + EVENT_END for block in blocks]
