"""Reads a request's body once, under its limit, and parses it once."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from app.errors import ApiError

Receive = Callable[[], Awaitable[Any]]


class ClientGone(Exception):
    """The client left before its body was complete."""


async def read_body(receive: Receive, headers: dict[str, str], max_bytes: int) -> bytes:
    """The whole body. Refused as soon as it is known to exceed `max_bytes`, by its announced or its counted length."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError("unsupported_content_encoding", "Send the body without a content encoding.")
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise _too_large(max_bytes)
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, without its null fields: a null field means the same as an absent one."""
    if not body:
        raise ApiError("invalid_json", "The body is empty. Send a JSON object.")
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
