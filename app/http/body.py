"""Reads a request's body once, under its limit, and parses it once."""

import asyncio
import string
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from app.config.limits import Limits
from app.parameters.request_bounds import MAX_VALUES, check_text
from contract.errors import ApiError

BASE64 = string.ascii_letters.encode() + string.digits.encode() + b"+/="

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


def announced_bytes(headers: dict[str, str]) -> int:
    """The length that the client announces; 0 where it does not."""
    announced = headers.get("content-length", "")
    return int(announced[:20]) if announced.isdecimal() else 0


class BodyReader:
    """The body as it comes. Refused once it is known to exceed `max_bytes`, by its announced or its counted length."""

    def __init__(self, receive: Receive, headers: dict[str, str], max_bytes: int) -> None:
        """Raises ApiError."""
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError("unsupported_content_encoding", "Send the body without a content encoding.")
        if announced_bytes(headers) > max_bytes:
            raise _too_large(max_bytes)
        self.ended = False
        self._receive = receive
        self._max_bytes = max_bytes
        self._size = 0

    async def piece(self) -> bytes:
        """The next piece of a body that has not ended. Raises ApiError, ClientGone."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        self._size += len(piece)
        if self._size > self._max_bytes:
            raise _too_large(self._max_bytes)
        self.ended = not message.get("more_body", False)
        return piece


async def read_body(receive: Receive, headers: dict[str, str], max_bytes: int) -> bytes:
    """The whole body, under the limit of `BodyReader`."""
    reader = BodyReader(receive, headers, max_bytes)
    pieces: list[bytes] = []
    while not reader.ended:
        pieces.append(await reader.piece())
    return b"".join(pieces)


async def read_json(
    receive: Receive,
    headers: dict[str, str],
    limits: Limits,
    max_values: int,
    media_bytes: Callable[[dict[str, Any]], int] | None = None,
) -> dict[str, Any]:
    """The request in a JSON body, which has at most `max_values` values. Raises ApiError.

    `media_bytes` counts the base64 of images and audio in a request, where it may hold any. They come beside
    `max_json_bytes`, within `max_body_bytes`.
    """
    max_json_bytes = min(limits.max_json_bytes, limits.max_body_bytes)
    if media_bytes is None:
        return parse_object(await read_body(receive, headers, max_json_bytes), max_values)
    body = await read_body(receive, headers, limits.max_body_bytes)
    if len(body) <= max_json_bytes:
        return parse_object(body, max_values)
    # A scan first: 32 MiB of small values would take the parser seconds and a gigabyte, and are no base64.
    if len(body.translate(None, BASE64)) > max_json_bytes:
        raise _too_much_json(max_json_bytes)
    request = parse_object(body, max_values)
    if len(body) - media_bytes(request) > max_json_bytes:
        raise _too_much_json(max_json_bytes)
    return request


def parse_object(body: bytes, max_values: int = MAX_VALUES) -> dict[str, Any]:
    """The JSON object in `body`, without its null fields: a null field means the same as an absent one."""
    if not body:
        raise ApiError("invalid_json", "The body is empty. Send a JSON object.")
    check_text(body, max_values)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # The text of the parser names the fault and its place, never the content.
        raise ApiError("invalid_json", f"The body is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ApiError("invalid_json", "The body must be a JSON object.")
    return {name: field for name, field in value.items() if field is not None}


def _too_large(max_bytes: int) -> ApiError:
    message = f"The body is larger than the {max_bytes} bytes that are allowed here. Send less at once."
    return ApiError("request_too_large", message)


def _too_much_json(max_bytes: int) -> ApiError:
    message = f"Beside the base64 of images and audio in its content parts, a body may have {max_bytes} bytes."
    return ApiError("request_too_large", f"{message} Send less text.")
