"""What the FastAPI applications beside the gateway share: headers on every response, and errors in the envelope."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from app.http.body import Receive
from app.http.request_id import client_request_id_from, request_id_from
from app.http.response import Send
from contract.errors import ApiError, internal_error, nothing_here, shown

ASGI = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


def with_headers(scope: dict[str, Any], send: Send, more: dict[str, str]) -> Send:
    """`send`, with what the contract wants on every response, and with `more`, which may have the request's id."""
    began = time.perf_counter()
    sent = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    own = {"x-request-id": request_id_from(sent.get("x-request-id"))}
    if (foreign := client_request_id_from(sent)) is not None:
        own["x-client-request-id"] = foreign

    async def send_with_headers(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            overhead = f"{(time.perf_counter() - began) * 1000:.2f}"
            headers = own | more | {"x-gateway-overhead-ms": overhead}
            encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
            message = message | {"headers": [*message["headers"], *encoded]}
        await send(message)

    return send_with_headers


def answer_errors(application: FastAPI) -> None:
    """Have `application` answer ApiErrors, what it finds no route for, and its own failures as the contract says."""
    application.add_exception_handler(ApiError, _api_error)
    application.add_exception_handler(HTTPException, _http_exception)
    application.add_exception_handler(Exception, _failure)


async def send_error(error: ApiError, send: Send) -> None:
    """Answer with `error`, without an application."""
    headers = [(name.encode(), value.encode()) for name, value in error.headers()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": error.body()})


def error_answer(request: Request, error: ApiError) -> Response:
    """The answer to `request`, whose state keeps the error's code as its `reason`."""
    request.state.reason = error.code
    return Response(error.body(), error.status, dict(error.headers()))


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - it is registered for these
    return error_answer(request, error)


async def _http_exception(request: Request, error: Exception) -> Response:
    """What FastAPI itself refuses: a body that it cannot read, a path that is none, or a wrong method."""
    if isinstance(error, HTTPException) and error.status_code == 400:
        return error_answer(
            request, ApiError("invalid_json", "The body cannot be read as JSON. Send a JSON object in UTF-8.")
        )
    if not (methods := _methods_at(request)):
        return error_answer(request, nothing_here())
    allow = ", ".join(sorted(methods))
    message = f"{shown(request.url.path)} takes {allow}, not {shown(request.method)}."
    return error_answer(request, ApiError("method_not_allowed", message, allow=allow))


def _methods_at(request: Request) -> set[str]:
    """Of all routes of the path; Starlette names those of the first. HEAD is GET without the body."""
    found = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return {method for route in found if isinstance(route, Route) for method in route.methods or ()} - {"HEAD"}


async def _failure(request: Request, __: Exception) -> Response:
    """Starlette raises it again when this is sent."""
    return error_answer(request, internal_error())
