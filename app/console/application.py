"""The console beside the gateway: its files, and what they show of models and of a key, as a FastAPI application."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from app.budgets.account import BudgetStatus
from app.budgets.headers import rate_limit_headers
from app.console.files import PREFIX, File
from app.console.key import key_card
from app.console.models import model_card
from app.http.body import Receive
from app.http.request_id import request_id_from
from app.http.response import Send
from app.keys import KeyEntry
from app.telemetry.acceptance import Acceptance
from app.telemetry.loads import KeyUsage, ModelLoad
from app.upstream.registry import Registry
from app.upstream.start import Start
from contract.errors import ApiError, internal_error

logger = logging.getLogger("portico.console")
T = TypeVar("T")
ASGI = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

KNOWN_SECONDS = 2.0  # for other processes to say what they know; a page that waits for longer looks broken
MODELS = f"{PREFIX}data/models"
KEY = f"{PREFIX}data/key"
SECURITY_HEADERS = {
    # Nothing but files of this service; blob: and data: are what the page makes of answers.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True)
class Sources:
    """Where what the page shows comes from. What fails is shown as not known."""

    authenticate: Callable[[str | None, str | None], Awaitable[KeyEntry]]  # (Authorization, address); raises ApiError
    budget_status: Callable[[KeyEntry], BudgetStatus]
    registry: Registry
    starts: Callable[[], Awaitable[dict[str, Start]]]
    acceptance: Callable[[], Awaitable[dict[str, Acceptance]]]
    loads: Callable[[], Awaitable[dict[str, ModelLoad]]]
    usage: Callable[[str], Awaitable[KeyUsage]]


class Console:
    """An ASGI application in front of the gateway: it answers its own paths, a closed set, and passes on all others."""

    def __init__(self, files: dict[str, File], sources: Sources, gateway: ASGI) -> None:
        application: Any = _application(files, sources)
        self._paths = frozenset(route.path for route in application.routes if isinstance(route, Route))
        self._application: ASGI = application
        self._gateway = gateway

    def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> Awaitable[None]:
        """No coroutine of its own, through which each step of a stream would go."""
        if scope["path"] in self._paths:
            return self._application(scope, receive, _with_common_headers(scope, send))
        return self._gateway(scope, receive, send)


def _with_common_headers(scope: dict[str, Any], send: Send) -> Send:
    """`send`, with what the contract wants on every response, and what browsers are to hold to."""
    began = time.perf_counter()
    sent = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    request_id = request_id_from(sent.get(b"x-request-id"))

    async def send_with_headers(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            overhead = f"{(time.perf_counter() - began) * 1000:.2f}"
            headers = SECURITY_HEADERS | {"x-request-id": request_id, "x-gateway-overhead-ms": overhead}
            encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
            message = message | {"headers": [*message["headers"], *encoded]}
        await send(message)

    return send_with_headers


def _application(files: dict[str, File], sources: Sources) -> FastAPI:
    application = FastAPI(openapi_url=None)
    for path, file in files.items():
        application.add_route(path, partial(_file, file), methods=["GET"])

    async def key_of(request: Request, response: Response) -> KeyEntry:
        client = request.client.host if request.client else None
        key = await sources.authenticate(request.headers.get("authorization"), client)
        response.headers.update(dict(rate_limit_headers(sources.budget_status(key), time.time())))
        response.headers["cache-control"] = "no-store"
        return key

    @application.api_route(MODELS, methods=["GET", "HEAD"])
    async def models(key: Annotated[KeyEntry, Depends(key_of)]) -> dict[str, Any]:
        shown = sources.registry.in_scope_of(key)
        starts, acceptance, loads = await asyncio.gather(
            _known(sources.starts()), _known(sources.acceptance()), _known(sources.loads())
        )
        return {"models": [model_card(one, (starts or {}).get(one.entry.id), acceptance, loads) for one in shown]}

    @application.api_route(KEY, methods=["GET", "HEAD"])
    async def own_key(key: Annotated[KeyEntry, Depends(key_of)]) -> dict[str, Any]:
        return key_card(key, sources.budget_status(key), await _known(sources.usage(key.id)))

    application.add_exception_handler(ApiError, _api_error)
    application.add_exception_handler(HTTPException, _http_exception)
    application.add_exception_handler(Exception, _failure)
    return application


async def _known(found: Awaitable[T]) -> T | None:
    """What another process reports, or None where it does not, or not soon."""
    try:
        async with asyncio.timeout(KNOWN_SECONDS):
            return await found
    except Exception:
        logger.warning("a part of the page is not known now", exc_info=True)
        return None


async def _file(file: File, request: Request) -> Response:
    headers = {"etag": file.etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers | {"content-type": file.content_type})


def _answer(error: ApiError) -> Response:
    return Response(error.body(), error.status, dict(error.headers()))


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - it is registered for these
    return _answer(error)


async def _http_exception(request: Request, _: Exception) -> Response:
    """Of the paths that come here, the only one of FastAPI's own: a wrong method."""
    return _answer(ApiError("method_not_allowed", f"{request.url.path} takes GET only.", allow="GET"))


async def _failure(_: Request, __: Exception) -> Response:
    """Starlette raises it again when this is sent."""
    return _answer(internal_error())
