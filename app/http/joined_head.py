"""Joins the head of a response to the body that follows at once, in one write: uvicorn writes each by itself.

Each write is a system call, and a segment that the proxy in front is woken for.
"""

import asyncio
from typing import Any


def join_head(send: Any) -> None:
    """Call this before a response's head is sent. `send` is that of uvicorn's cycle of a request, which writes to its
    `transport`; any other is left alone.
    """
    cycle: Any = getattr(send, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is not None:
        cycle.transport = _HeadFirst(cycle, transport)


class _HeadFirst:
    """Stands before the transport of a response for its first two writes. The first waits, at most for the next turn of
    the event loop.
    """

    def __init__(self, cycle: Any, transport: asyncio.Transport) -> None:
        self._cycle = cycle
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            self._pass_on(data)
        else:
            self._head = data
            asyncio.get_running_loop().call_soon(self._pass_on)

    def close(self) -> None:
        self._pass_on()
        self._transport.close()

    def _pass_on(self, data: bytes = b"") -> None:
        """Write what has waited, and `data`; this is not needed any more."""
        head, self._head = self._head, b""
        if head:
            self._cycle.transport = self._transport
            self._transport.write(head + data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
