"""Ends a connection with its request: a server that stops then has none left to close under the next request."""

from typing import Any


def close_after(send: Any) -> None:
    """Call this before a response's head is sent: it will say `connection: close`.

    `send` is that of uvicorn's cycle of a request; any other is left alone.
    """
    cycle: Any = getattr(send, "__self__", None)
    if hasattr(cycle, "keep_alive"):
        cycle.keep_alive = False
