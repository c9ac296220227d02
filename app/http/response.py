"""Writes the one response to a request."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from app.http.backlog import Backlog
from app.http.stall_timer import StallTimer

Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = Iterable[tuple[str, str]]

EVENT_STREAM_HEADERS = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache, no-transform"),
    ("x-accel-buffering", "no"),
)
SLICE_BYTES = 256 * 1024  # of a whole body, so that a slow reader of a large one does not look like one that stalls


class ResponseWriter:
    """The response, as an ASGI server takes it. Every write may raise ReaderStalled."""

    def __init__(
        self,
        send: Send,
        common_headers: Callable[[int], Headers],
        stall_timeout_s: float,
        backlog: Backlog | None = None,
    ) -> None:
        """`common_headers` is called once, with the status, and gives the headers that every response has.

        `stall_timeout_s` bounds each wait for the client to take what was written. `backlog` waits for it where `send`
        does not.
        """
        self.started = False
        self._send = send
        self._common_headers = common_headers
        self._stall_timer = StallTimer(stall_timeout_s)
        self._backlog = backlog

    async def complete(self, status: int, headers: Headers, body: bytes) -> None:
        """The whole response at once."""
        await self.start(status, [*headers, ("content-length", str(len(body)))])
        last = max(0, len(body) - 1) // SLICE_BYTES * SLICE_BYTES
        for start in range(0, last, SLICE_BYTES):
            await self.write(body[start : start + SLICE_BYTES])
        await self.finish(body[last:])

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True
        all_headers = (*headers, *self._common_headers(status))
        del self._common_headers  # whose they are has this writer: in a circle both, and all they have, would stay
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in all_headers]
        await self._send_in_time({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, piece: bytes) -> None:
        await self._send_in_time({"type": "http.response.body", "body": piece, "more_body": True}, len(piece))

    def give_up(self) -> None:
        """Let the write that waits for the client raise ReaderStalled now."""
        self._stall_timer.give_up()

    async def finish(self, last: bytes = b"") -> None:
        try:
            await self._send_in_time({"type": "http.response.body", "body": last, "more_body": False})
        finally:
            self._stall_timer.close()

    async def _send_in_time(self, message: dict[str, Any], size: int = 0) -> None:
        with self._stall_timer:
            await self._send(message)
            if self._backlog is not None:
                await self._backlog.wrote(size)
