"""The middleware around Serve's own HTTP servers."""

import asyncio
import uuid
from typing import Any, cast

import httpx
import pytest
import uvicorn
from ray.serve._private.http_util import RequestIdMiddleware  # what Serve wraps every server in
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.edge import Edge
from tests.unit.conftest import assert_error


class Server:
    """An application inside Serve's middleware, as a proxy runs it; it answers as told and keeps what it saw."""

    def __init__(self, status: int = 200, content_type: bytes = b"application/json") -> None:
        self.status = status
        self.content_type = content_type
        self.seen: dict[bytes, bytes] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen = dict(scope["headers"])
        headers = [(b"content-type", self.content_type), (b"x-request-id", self.seen[b"x-request-id"])]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"a stack trace", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def get(self, headers: dict[str, str] | None = None, path: str = "/") -> httpx.Response:
        transport = httpx.ASGITransport(cast(Any, Edge(RequestIdMiddleware(self))))
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            return await client.get(path, headers=headers or {})


@pytest.mark.parametrize("sent", [None, "not-a-uuid", "7f4df2d1-4c3b-4a53-9c1c-6f0e1b6f9d0a"])
async def test_there_is_one_request_id_and_it_is_a_uuid(sent: str | None) -> None:
    server = Server()
    response = await server.get({"x-request-id": sent} if sent else None)
    (request_id,) = response.headers.get_list("x-request-id")
    assert server.seen[b"x-request-id"].decode() == request_id
    assert uuid.UUID(request_id).version == 4
    assert (request_id == sent) == (sent is not None and len(sent) == 36)


async def test_a_request_id_that_is_no_uuid_reaches_the_gateway_as_the_client_s_own() -> None:
    server = Server()
    await server.get({"x-request-id": "order 42"})
    assert server.seen[b"x-client-request-id"] == b"order 42"
    await server.get({"x-request-id": "order 42", "x-client-request-id": "mine"})
    assert server.seen[b"x-client-request-id"] == b"mine"


async def test_a_client_cannot_set_serve_s_controls() -> None:
    server = Server()
    await server.get({"x-request-disconnect-disabled": "1", "x-request-timeout-seconds": "1", "x-other": "1"})
    assert b"x-other" in server.seen
    assert not {b"x-request-disconnect-disabled", b"x-request-timeout-seconds"} & set(server.seen)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, (503, "server_error", "model_starting")),
        (408, (504, "server_error", "timeout")),
        (500, (500, "server_error", "internal_error")),
        (503, (503, "server_error", "overloaded")),
    ],
)
async def test_serve_s_own_errors_get_the_envelope(status: int, expected: tuple[int, str, str]) -> None:
    assert_error(await Server(status, b"text/plain; charset=utf-8").get(), *expected)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/alpha/messages/count_tokens"])
async def test_on_the_routes_of_anthropic_s_api_they_get_its_envelope(path: str) -> None:
    response = await Server(503, b"text/plain; charset=utf-8").get(path=path)
    content, request_id = response.json(), response.headers["x-request-id"]
    assert (response.status_code, content["error"]["type"]) == (503, "overloaded_error")
    assert (content["type"], content["request_id"], response.headers["request-id"]) == ("error", request_id, request_id)


@pytest.mark.parametrize(("status", "content_type"), [(200, b"text/plain"), (404, b"application/json")])
async def test_the_gateway_s_answers_pass(status: int, content_type: bytes) -> None:
    response = await Server(status, content_type).get()
    assert (response.status_code, response.text) == (status, "a stack trace")


async def test_a_path_without_a_slash_is_no_service_that_starts() -> None:
    """Serve answers `OPTIONS *` with its 404 for a path at which no application is."""
    server, sent = Server(404, b"text/plain"), []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "OPTIONS", "path": "*", "headers": []}
    await Edge(server)(scope, cast(Any, None), send)
    assert (sent[0]["status"], b"unknown_url" in sent[1]["body"]) == (404, True)


class TestUnderUvicorn:
    """Responses as uvicorn writes them, in how many writes."""

    @pytest.mark.parametrize(
        ("bodies", "method", "number"),
        [([b"whole"], "GET", 1), ([b"first ", b"second"], "GET", 2), ([b""], "GET", 1), ([b"whole"], "HEAD", 1)],
    )
    @pytest.mark.parametrize("connection", ["keep-alive", "close"])
    async def test_the_head_is_written_with_what_follows_at_once(
        self, bodies: list[bytes], method: str, number: int, connection: str
    ) -> None:
        async def answer(_: Any, __: Any, send: Any) -> None:
            size = sum(map(len, bodies))
            await send(_start([(b"content-length", str(size).encode())]))
            for body in bodies[:-1]:
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": bodies[-1]})

        writes = await _written(answer, f"{method} / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n")
        head, _, body = b"".join(writes).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert body == (b"".join(bodies) if method == "GET" else b"")
        assert len([piece for piece in writes if piece]) == number

    async def test_a_head_that_nothing_follows_is_written_soon(self) -> None:
        ended = asyncio.Event()

        async def answer(_: Any, __: Any, send: Any) -> None:
            await send(_start([]))
            await ended.wait()
            await send({"type": "http.response.body", "body": b"late"})

        writes = await _written(answer, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ended)
        assert writes[0].endswith(b"\r\n\r\n")
        assert b"late" in writes[1]


def _start(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def _written(app: Any, request: str, after_the_head: asyncio.Event | None = None) -> list[bytes]:
    """What uvicorn writes for `request`, of which the first write is waited for before `after_the_head` is set."""
    config = uvicorn.Config(cast(Any, Edge(app)), lifespan="off", log_config=None)
    config.load()
    protocol = HttpToolsProtocol(config, ServerState(), {})
    transport = Transport()
    protocol.connection_made(cast(Any, transport))
    protocol.data_received(request.encode())
    async with asyncio.timeout(5):
        if after_the_head is not None:
            while not transport.writes:
                await asyncio.sleep(0)
            after_the_head.set()
        while not protocol.cycle.response_complete:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    return transport.writes


class Transport(asyncio.Transport):
    """Keeps what is written. Nothing may be once it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed
