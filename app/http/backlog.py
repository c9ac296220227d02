"""How far a client is behind where Serve's Python proxy stands before the gateway: that proxy takes all it is given.

`app.edge`, which runs inside the proxy, reports what the client has taken as messages of the request, which the gateway
reads once its response is far enough ahead. HAProxy needs none of it: there every write waits for the client.
"""

import asyncio
from typing import Any

from app.http.body import ClientGone, Receive

HEADER = "x-portico-reports-taken"  # of a request whose proxy reports; no client's header gets this far
TAKEN = "portico.taken"
REPORT_BYTES = 256 * 1024


class TakenReports:
    """At the proxy: the request's messages, and after its body the reports among them."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._body_ended = False
        self._taken = self._reported = 0
        self._due = asyncio.Event()
        self._next: asyncio.Future[Any] | None = None  # the client's next message: that it has left

    def took(self, size: int) -> None:
        """The client has taken `size` more bytes of the response's body."""
        self._taken += size
        if self._taken - self._reported >= REPORT_BYTES:
            self._due.set()

    async def receive(self) -> Any:
        if not self._body_ended:
            message = await self._receive()
            self._body_ended = not message.get("more_body", False)
            return message
        self._next = self._next or asyncio.ensure_future(self._receive())
        due = asyncio.ensure_future(self._due.wait())
        try:
            await asyncio.wait((self._next, due), return_when=asyncio.FIRST_COMPLETED)
        finally:
            due.cancel()
        if self._next.done():
            return self._next.result()
        self._due.clear()
        self._reported = self._taken
        return {"type": TAKEN, "bytes": self._taken}

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()


class Backlog:
    """At the gateway: what was written and, as far as was reported, not taken. Bounded."""

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        """`receive` is the request's, whose body is read or of no interest."""
        self._receive = receive
        self._limit_bytes = limit_bytes + REPORT_BYTES  # so much may be taken before it is reported
        self._written = self._taken = 0

    async def wrote(self, size: int) -> None:
        """Count `size` more bytes, and wait where they are too many. Raises ClientGone."""
        self._written += size
        while self._written - self._taken > self._limit_bytes:
            message = await self._receive()
            if message["type"] == TAKEN:
                self._taken = message["bytes"]
            elif message["type"] == "http.disconnect":
                raise ClientGone
