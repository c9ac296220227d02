"""How a response is written: with the headers that every one has, and only as long as its reader takes it."""

import asyncio
from typing import Any

import pytest

from app.http.response import SLICE_BYTES, ResponseWriter
from app.http.stall_timer import ReaderStalled


def writer(send: Any, stall_timeout_s: float = 5) -> ResponseWriter:
    return ResponseWriter(send, lambda status: [("x-status", str(status))], stall_timeout_s)


async def messages_of(respond: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await respond(writer(send))
    return sent


async def test_every_response_has_the_common_headers_beside_its_own() -> None:
    start, _ = await messages_of(lambda response: response.complete(503, [("retry-after", "5")], b"{}"))
    assert start["status"] == 503
    assert {(b"x-status", b"503"), (b"retry-after", b"5")} <= set(start["headers"])


@pytest.mark.parametrize("size", [0, 1, SLICE_BYTES, SLICE_BYTES + 1, 3 * SLICE_BYTES])
async def test_a_whole_body_comes_in_slices_that_a_slow_reader_can_take_in_time(size: int) -> None:
    body = bytes(size)
    start, *pieces = await messages_of(lambda response: response.complete(200, [], body))
    assert (b"content-length", str(size).encode()) in start["headers"]
    assert b"".join(piece["body"] for piece in pieces) == body
    assert all(len(piece["body"]) <= SLICE_BYTES for piece in pieces)
    assert [piece["more_body"] for piece in pieces] == [True] * (len(pieces) - 1) + [False]


async def test_a_reader_that_takes_nothing_is_given_up() -> None:
    async def send(_: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    with pytest.raises(ReaderStalled):
        await writer(send, stall_timeout_s=0.05).complete(200, [], b"{}")
