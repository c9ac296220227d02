"""Streams at the gateway: written as they come, kept alive, and ended as the contract says."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from app.gateway.streaming import relay_events
from app.http.reply import Reply
from contract import sse
from contract.errors import ApiError, upstream_error
from contract.protocol import ResponseHead, ResponseTail
from tests.unit.conftest import StandInAnswer

DONE = b"data: [DONE]\n\n"


def failure_event(error: ApiError, _first: bytes, _events: int) -> bytes:
    return sse.event(error.envelope())


class Written:
    """What a reply wrote."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    @property
    def pieces(self) -> list[bytes]:
        return [m["body"] for m in self.messages[1:]]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])


async def relay(items: list[Any], ping_interval: float = 60) -> tuple[Reply, Written]:
    written = Written()
    reply = Reply(written.send, {})
    await relay_events(reply, StandInAnswer(items), ping_interval, failure_event)
    return reply, written


async def test_events_leave_as_they_came_each_in_one_write() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    reply, written = await relay([ResponseHead(200), b"data: 1\n\n", DONE, ResponseTail(usage)])
    assert written.pieces == [b"data: 1\n\n", DONE, b""]
    assert written.messages[-1]["more_body"] is False
    assert (reply.reason, reply.usage) == ("ok", usage)
    assert written.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert written.headers[b"cache-control"] == b"no-cache, no-transform"
    assert written.headers[b"x-accel-buffering"] == b"no"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ([ResponseTail(error=ApiError("overloaded", "full").to_wire())], "overloaded"),
        ([upstream_error()], "upstream_error"),
        ([], "upstream_error"),  # the replica ended without a word
    ],
    ids=["the engine says so", "the replica is lost", "no tail"],
)
async def test_a_failure_becomes_a_last_event_and_no_done(end: list[Any], code: str) -> None:
    reply, written = await relay([ResponseHead(200), b"data: 1\n\n", *end])
    blank, event = written.pieces[-1].split(b"data: ")
    error = json.loads(event)["error"]
    assert blank == b"\n\n"
    assert set(error) == {"message", "type", "code", "param"}
    assert (error["code"], reply.reason) == (code, code)
    assert DONE not in written.pieces


async def test_a_silent_stream_is_kept_alive_by_comments() -> None:
    class Slow(StandInAnswer):
        async def pieces(self) -> AsyncGenerator[bytes]:
            await asyncio.sleep(0.25)
            self.tail = ResponseTail()
            yield DONE

    written = Written()
    await relay_events(Reply(written.send, {}), Slow([ResponseHead(200)]), 0.1, failure_event)
    assert written.pieces == [b": ping\n\n", b": ping\n\n", DONE, b""]


async def test_a_busy_stream_has_no_comments() -> None:
    class Steady(StandInAnswer):
        async def pieces(self) -> AsyncGenerator[bytes]:
            for _ in range(6):
                await asyncio.sleep(0.05)
                yield b"data: 1\n\n"
            self.tail = ResponseTail()

    written = Written()
    await relay_events(Reply(written.send, {}), Steady([ResponseHead(200)]), 0.2, failure_event)
    assert b": ping\n\n" not in written.pieces
