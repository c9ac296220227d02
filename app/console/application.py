"""The console beside the gateway: its files, and what they show of models and of a key, as a FastAPI application."""

import time
from collections.abc import Awaitable
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from starlette.routing import Route

from app.budgets.headers import rate_limit_headers
from app.console.files import PREFIX, File
from app.console.key import key_card
from app.console.sources import Sources
from app.http.body import Receive
from app.http.fastapi_answers import ASGI, answer_errors, with_headers
from app.http.response import Send
from app.keys import KeyEntry

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
            return self._application(scope, receive, with_headers(scope, send, SECURITY_HEADERS))
        return self._gateway(scope, receive, send)


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
        cards = await sources.model_cards(sources.registry.in_scope_of(key))
        return {"models": cards, "routes": sources.routes_of(key)}

    @application.api_route(KEY, methods=["GET", "HEAD"])
    async def own_key(key: Annotated[KeyEntry, Depends(key_of)]) -> dict[str, Any]:
        return key_card(key, sources.budget_status(key), await sources.known(sources.usage(key.id)))

    answer_errors(application)
    return application


async def _file(file: File, request: Request) -> Response:
    headers = {"etag": file.etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers | {"content-type": file.content_type})
