"""Calls an ASGI application in this process and hands its answer on as it is made.

httpx's ASGI transport waits for the whole body, so server-sent events need a caller of their own.
"""

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any

# Messages the application may be ahead of its reader before `send` makes it wait.
MAX_BUFFERED_MESSAGES = 256
DISCONNECT_GRACE_S = 0.5


class AsgiCall:
    """One POST to an ASGI application. Leaving the context tells the application that the client is gone.

    Raises what the application raised, from whichever method is waiting on it at that time.
    """

    def __init__(self, app: Any, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._app = app
        self._body: bytes | None = body
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
            "client": None,
            "server": None,
        }
        self._messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(MAX_BUFFERED_MESSAGES)
        self._gone = asyncio.Event()
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> "AsgiCall":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gone.set()
        # An application may run its work in a task of its own, which it cancels when it hears of the disconnect and
        # orphans when it is cancelled itself; so it hears first.
        _, running = await asyncio.wait([self._task], timeout=DISCONNECT_GRACE_S)
        if running:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def start(self) -> tuple[int, dict[str, str]]:
        """Wait for the response to start. Returns its status and its headers, names in lower case."""
        message = await self._next()
        if message is None:
            raise RuntimeError("the application ended without a response")
        return message["status"], {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in message["headers"]}

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body as it comes; pieces that wait together come joined."""
        while (message := await self._next()) is not None:
            pieces = [message["body"]]
            while message is not None and message["more_body"] and not self._messages.empty():
                message = await self._next()
                if message is not None:
                    pieces.append(message["body"])
            if joined := b"".join(pieces):
                yield joined
            if message is None or not message["more_body"]:
                return

    async def _next(self) -> dict[str, Any] | None:
        message = await self._messages.get()
        if message is None:
            await self._task  # raises what the application raised
        return message

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        finally:
            # A reader that is gone takes nothing more; one that waits must learn of the end.
            if not self._gone.is_set():
                await self._messages.put(None)

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._gone.is_set():
            return  # as HTTP servers do: what is sent to a client that left is dropped
        if message["type"] == "http.response.start":
            await self._messages.put({"status": message["status"], "headers": message.get("headers", [])})
        elif message["type"] == "http.response.body":
            body, more = bytes(message.get("body", b"")), message.get("more_body", False)
            await self._messages.put({"body": body, "more_body": more})
