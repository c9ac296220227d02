"""Cross-origin requests: the pages of other origins that may call this service from a browser."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from app.http.body import Receive
from app.http.request_id import request_id_from
from app.http.response import Send

ASGI = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

ANY = b"*"
PREFLIGHT_HEADERS: Headers = [
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-allow-headers", b"Authorization, *"),  # the asterisk stands for all others
    (b"access-control-max-age", b"600"),
    (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
]


class Cors:
    """ASGI middleware. Keys travel in a header, never in a cookie, so no request is `with credentials`."""

    def __init__(self, application: ASGI, allowed_origins: Iterable[str]) -> None:
        self._application = application
        self._allowed = frozenset(origin.encode() for origin in allowed_origins)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        sent = dict(scope.get("headers", ()))
        allowed = self._headers_for(sent.get(b"origin"))
        if not allowed:
            await self._application(scope, receive, send)
        elif scope.get("method") == "OPTIONS" and b"access-control-request-method" in sent:
            await _answer_preflight(send, allowed, sent.get(b"x-request-id"))
        else:
            await self._application(scope, receive, _with(send, allowed))

    def _headers_for(self, origin: bytes | None) -> Headers:
        """What lets a page of `origin` read the answer; nothing where it may not, or where it is no page."""
        if origin is None:
            return []
        if ANY in self._allowed:
            return [(b"access-control-allow-origin", ANY), (b"access-control-expose-headers", b"*")]
        if origin not in self._allowed:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"*"),
            (b"vary", b"Origin"),
        ]


def _with(send: Send, headers: Headers) -> Send:
    async def send_with_headers(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = message | {"headers": [*message["headers"], *headers]}
        await send(message)

    return send_with_headers


async def _answer_preflight(send: Send, allowed: Headers, request_id: bytes | None) -> None:
    own = request_id_from(request_id.decode("latin-1") if request_id else None)
    headers = [*allowed, *PREFLIGHT_HEADERS, (b"x-request-id", own.encode())]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
