"""What must happen in the HTTP server itself, before Ray Serve sees a request and after it has answered.

Serve repeats the client's X-Request-Id whatever it holds, obeys headers that change its time limit and its watch for
disconnects, answers its own failures in plain text, and its Python proxy takes a response however slowly its client
reads. `middlewares` mends that. Serve calls it in every process that serves HTTP, where
RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names it.
"""

import asyncio
import os
from typing import Any

import orjson
from starlette.middleware import Middleware

from app.endpoints.api_style import OPENAI, ApiStyle, style_at
from app.http.backlog import HEADER, TakenReports
from app.http.body import Receive
from app.http.joined_head import join_head
from app.http.request_id import client_request_id_from, request_id_from
from app.http.response import Send
from contract import log_settings
from contract.errors import ApiError, internal_error, nothing_here, service_starting, service_timeout

REQUEST_ID = b"x-request-id"
CLIENT_REQUEST_ID = b"x-client-request-id"
# Serve's own controls, which are not a client's to set.
SERVE_CONTROLS = frozenset(
    {b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve-multiplexed-model-id",
     b"serve_multiplexed_model_id"}
)  # fmt: skip
REPORTS_TAKEN = HEADER.encode()
NOT_A_CLIENT_S = SERVE_CONTROLS | {REPORTS_TAKEN}

# Longer than a gateway waits by default for a client that stalls: then the proxy's own hold on it ends too.
STALL_TIMEOUT_S = 150.0


def middlewares() -> list[Middleware]:
    """What Serve is to wrap around its HTTP servers."""
    log_settings.take_over_serve()
    behind_haproxy = os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "0") == "1"
    return [Middleware(Edge, reports_taken=not behind_haproxy)]


def controller_started() -> None:
    """Called by Serve's controller, where RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH names it."""
    log_settings.take_over_serve()


class Edge:
    """ASGI middleware; it looks at the start of a response only and passes the body on."""

    def __init__(self, app: Any, *, reports_taken: bool = False) -> None:
        """`reports_taken` tells the gateway what the client has taken, where its own writes wait for nobody."""
        self._app = app
        self._reports_taken = reports_taken

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _refuse_websocket(send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not scope["path"].startswith("/"):  # `OPTIONS *`: to Serve, no application is at that path yet
            await _send_error(send, nothing_here(), _new_request_id())
            return
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in NOT_A_CLIENT_S]
        sent = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
        headers = [(name, value) for name, value in headers if name.lower() not in (REQUEST_ID, CLIENT_REQUEST_ID)]
        headers.append((REQUEST_ID, request_id_from(sent.get("x-request-id")).encode()))
        if (client_id := client_request_id_from(sent)) is not None:
            headers.append((CLIENT_REQUEST_ID, client_id.encode()))
        reports = TakenReports(receive) if self._reports_taken else None
        if reports is not None:
            headers.append((REPORTS_TAKEN, b"1"))
        replaced = False

        async def send_mended(message: dict[str, Any]) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                message["headers"] = _first_of_each(message["headers"])
                if _is_plain_error(message):
                    replaced = True
                    request_id = [(name, value) for name, value in message["headers"] if name.lower() == REQUEST_ID]
                    await _send_error(send, _serve_error(message["status"]), request_id, style_at(scope["path"]))
                    return
                join_head(send)
            if replaced:
                return
            if reports is None:
                await send(message)
                return
            async with asyncio.timeout(STALL_TIMEOUT_S):
                await send(message)
            reports.took(len(message.get("body", b"")))

        try:
            await self._app({**scope, "headers": headers}, reports.receive if reports else receive, send_mended)
        finally:
            if reports is not None:
                reports.close()


async def _refuse_websocket(send: Send) -> None:
    async def send_refusal(message: dict[str, Any]) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    error = ApiError("unknown_url", "There are no websockets here. Send an HTTP request.")
    await _send_error(send_refusal, error, _new_request_id())


def _new_request_id() -> list[tuple[bytes, bytes]]:
    return [(REQUEST_ID, request_id_from(None).encode())]


def _first_of_each(headers: Any) -> list[tuple[bytes, bytes]]:
    """The headers with one X-Request-Id: the gateway sets it, and Serve adds it again."""
    kept: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name.lower() != REQUEST_ID or all(other.lower() != REQUEST_ID for other, _ in kept):
            kept.append((name, value))
    return kept


def _is_plain_error(message: dict[str, Any]) -> bool:
    content_type = next((v for k, v in message["headers"] if k.lower() == b"content-type"), b"")
    return message["status"] >= 400 and content_type.startswith(b"text/plain")


async def _send_error(
    send: Send, error: ApiError, request_id: list[tuple[bytes, bytes]], style: ApiStyle = OPENAI
) -> None:
    """`request_id` is the header with it."""
    ids = [value for _, value in request_id[:1]]
    body = orjson.dumps(style.envelope(error, b"".join(ids).decode()))
    own = [(name.encode(), value.encode()) for name, value in error.headers()]
    if style.request_id_header is not None:
        own += [(style.request_id_header.encode(), one) for one in ids]
    headers = [*own, (b"content-length", str(len(body)).encode()), *request_id]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _serve_error(status: int) -> ApiError:
    """Serve's own failure as the contract says it."""
    if status in (429, 503):
        return ApiError("overloaded", "The gateway has as many open requests as it may. Retry after a pause.")
    if status == 404:  # Serve knows no application yet
        return service_starting()
    if status == 408:
        return service_timeout()
    return internal_error()
