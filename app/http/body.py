"""Reads a request's body once, under its limit, and parses it once."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import orjson

from app.config.service import Limits
from app.parameters.request_bounds import check_text
from contract.errors import ApiError

Receive = Callable[[], Awaitable[Any]]


class ClientGone(Exception):
    """The client left before its body was complete."""


def impatient(receive: Receive, limits: Limits) -> Receive:
    """`receive` for as long as pieces come; a body that pauses, or does not end, ends the request with a `timeout`."""
    now = asyncio.get_running_loop().time
    deadline = now() + limits.body_timeout_s

    async def receiving() -> Any:
        seconds = min(limits.body_pause_timeout_s, deadline - now())
        try:
            async with asyncio.timeout(seconds):
                return await receive()
        except TimeoutError:
            message = f"Nothing of the body came for {seconds:g} s. Send the request again, without a pause."
            if seconds < limits.body_pause_timeout_s:
                message = f"The body did not come whole within {limits.body_timeout_s:g} s. Send less of it, or faster."
            raise ApiError("timeout", message) from None

    return receiving


async def body_pieces(receive: Receive, headers: dict[str, str], max_bytes: int) -> AsyncGenerator[bytes]:
    """The body as it comes. Refused once it is known to exceed `max_bytes`, by its announced or its counted length."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError("unsupported_content_encoding", "Send the body without a content encoding.")
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise _too_large(max_bytes)
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        yield piece
        if not message.get("more_body", False):
            return


async def read_body(receive: Receive, headers: dict[str, str], max_bytes: int) -> bytes:
    """The whole body, under the limit of `body_pieces`."""
    return b"".join([piece async for piece in body_pieces(receive, headers, max_bytes)])


async def read_json(receive: Receive, headers: dict[str, str], limits: Limits) -> dict[str, Any]:
    """The request in a JSON body. Raises ApiError."""
    return parse_object(await read_body(receive, headers, limits.max_body_bytes))


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, without its null fields: a null field means the same as an absent one."""
    if not body:
        raise ApiError("invalid_json", "The body is empty. Send a JSON object.")
    check_text(body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # The text of the parser names the fault and its place, never the content.
        raise ApiError("invalid_json", f"The body is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ApiError("invalid_json", "The body must be a JSON object.")
    return {name: field for name, field in value.items() if field is not None}


def _too_large(max_bytes: int) -> ApiError:
    return ApiError("request_too_large", f"The body is larger than the {max_bytes} bytes that are allowed here.")
