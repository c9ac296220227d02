"""A client behind Serve's Python proxy, which takes all it is given: the gateway waits for what its client takes."""

import asyncio
from collections import deque
from typing import Any

import pytest

from app.edge import STALL_TIMEOUT_S, Edge
from app.http.backlog import HEADER, REPORT_BYTES, Backlog
from app.http.body import ClientGone
from app.http.response import ReaderStalled, ResponseWriter

PIECE = b"x" * REPORT_BYTES
LIMIT = 4 * REPORT_BYTES


class Proxy:
    """Serve's Python proxy: it takes every message of the response at once and passes them to its client in order."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        requested: asyncio.Queue[Any] = asyncio.Queue()
        responded: deque[Any] = deque()
        came = asyncio.Event()

        async def pass_on_the_request() -> None:
            while True:
                message = await receive()
                requested.put_nowait(message)
                if message["type"] == "http.disconnect":
                    return

        async def take(message: Any) -> None:
            responded.append(message)
            came.set()

        tasks = [
            asyncio.create_task(pass_on_the_request()),
            asyncio.create_task(self._app(scope, requested.get, take)),
        ]
        try:
            while True:
                await came.wait()
                came.clear()
                while responded:
                    message = responded.popleft()
                    await send(message)
                    if message["type"] == "http.response.body" and not message["more_body"]:
                        return
        finally:
            for task in tasks:
                task.cancel()


class Client:
    """Takes so many bytes of a body, and then only what it is let."""

    def __init__(self) -> None:
        self.taken = 0
        self.reads = asyncio.Semaphore(0)
        self.left = asyncio.Event()
        self._sent = False

    async def receive(self) -> Any:
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": b"{}", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message.get("body"):
            await self.reads.acquire()
            self.taken += len(message["body"])


class Gateway:
    """Writes an endless body, and counts it."""

    def __init__(self, stall_timeout_s: float = 60) -> None:
        self.written = 0
        self.ended: BaseException | None = None
        self._stall_timeout_s = stall_timeout_s

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert HEADER.encode() in dict(scope["headers"])
        await receive()
        response = ResponseWriter(send, lambda _: (), self._stall_timeout_s, Backlog(receive, LIMIT))
        await response.start(200, [])
        try:
            while True:
                self.written += len(PIECE)
                await response.write(PIECE)
        except (ClientGone, ReaderStalled) as error:
            self.ended = error


SCOPE: dict[str, Any] = {"type": "http", "path": "/", "headers": []}


async def settled(gateway: Gateway) -> int:
    """What is written once nothing more is."""
    before = -1
    while before != gateway.written:
        before = gateway.written
        for _ in range(50):
            await asyncio.sleep(0)
    return gateway.written


async def test_a_response_is_ahead_of_its_client_by_a_bound_and_goes_on_as_the_client_does() -> None:
    client, gateway = Client(), Gateway()
    task = asyncio.create_task(Edge(Proxy(gateway), reports_taken=True)(SCOPE, client.receive, client.send))
    ahead = await settled(gateway)
    assert ahead == LIMIT + 2 * len(PIECE)  # what is not reported yet, and the write that went beyond
    for pieces in range(1, 4):
        client.reads.release()
        assert await settled(gateway) == ahead + pieces * len(PIECE)
    task.cancel()


async def test_a_client_that_leaves_ends_the_wait() -> None:
    client, gateway = Client(), Gateway()
    task = asyncio.create_task(Edge(Proxy(gateway), reports_taken=True)(SCOPE, client.receive, client.send))
    await settled(gateway)
    client.left.set()
    await settled(gateway)
    assert isinstance(gateway.ended, ClientGone)
    task.cancel()


async def test_a_client_that_stalls_is_given_up() -> None:
    client, gateway = Client(), Gateway(stall_timeout_s=0.05)
    task = asyncio.create_task(Edge(Proxy(gateway), reports_taken=True)(SCOPE, client.receive, client.send))
    async with asyncio.timeout(5):
        while gateway.ended is None:
            await asyncio.sleep(0.01)
    assert isinstance(gateway.ended, ReaderStalled)
    task.cancel()


async def test_the_proxy_lets_go_of_a_client_that_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.edge.STALL_TIMEOUT_S", 0.05)
    assert STALL_TIMEOUT_S > 120  # after the gateway has
    client = Client()
    with pytest.raises(TimeoutError):
        await Edge(Proxy(Gateway()), reports_taken=True)(SCOPE, client.receive, client.send)


async def test_a_client_cannot_say_that_its_proxy_reports() -> None:
    seen: list[Any] = []

    async def app(scope: Any, *_: Any) -> None:
        seen.extend(scope["headers"])

    await Edge(app)({"type": "http", "path": "/", "headers": [(HEADER.encode(), b"1")]}, None, None)  # type: ignore[arg-type]
    assert HEADER.encode() not in dict(seen)
