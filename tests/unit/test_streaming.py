"""Streams at the gateway: written as they come, kept alive, bounded, and ended as the contract says."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from app.config.limits import Limits
from app.gateway.open_streams import OpenStreams
from app.gateway.streaming import relay_bytes, relay_events
from app.http.response import ResponseWriter
from app.http.stall_timer import ReaderStalled
from app.telemetry.record import RequestRecord
from contract import sse
from contract.errors import ApiError, upstream_error
from contract.protocol import ResponseHead, ResponseTail
from contract.sse import DONE, PING
from tests.unit.conftest import StandInAnswer


def failure_event(error: ApiError, _first: bytes, _events: int) -> bytes:
    return sse.event(error.envelope())


class Written:
    """What a response wrote."""

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


async def relay(
    answer: StandInAnswer, streams: OpenStreams | None = None, **limits: Any
) -> tuple[RequestRecord, Written]:
    """What is recorded and what is written of a stream of events."""
    written, record = Written(), RequestRecord("")
    bounds = Limits(**limits)
    response = ResponseWriter(written.send, lambda _: (), bounds.write_stall_timeout_s)
    await relay_events(response, record, answer, bounds, failure_event, streams=streams or OpenStreams())
    return record, written


async def test_events_leave_as_they_came_each_in_one_write() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    record, written = await relay(StandInAnswer([ResponseHead(200), b"data: 1\n\n", DONE, ResponseTail(usage)]))
    assert written.pieces == [b"data: 1\n\n", DONE, b""]
    assert written.messages[-1]["more_body"] is False
    assert (record.reason, record.usage) == ("ok", usage)
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
    record, written = await relay(StandInAnswer([ResponseHead(200), b"data: 1\n\n", *end]))
    blank, event = written.pieces[-1].split(b"data: ")
    error = json.loads(event)["error"]
    assert blank == b"\n\n"
    assert set(error) == {"message", "type", "code", "param"}
    assert (error["code"], record.reason) == (code, code)
    assert DONE not in written.pieces


@pytest.mark.parametrize("pause_s", [0.0, 60.0], ids=["a busy engine", "a silent engine"])
async def test_a_stream_that_must_end_with_its_replica_says_so_and_is_no_success(pause_s: float) -> None:
    class Endless(StandInAnswer):
        async def pieces(self) -> AsyncGenerator[bytes]:
            while True:
                yield b"data: 1\n\n"
                await asyncio.sleep(pause_s)

    streams = OpenStreams()
    asyncio.get_running_loop().call_later(0.1, streams.end)
    async with asyncio.timeout(10):
        record, written = await relay(Endless([ResponseHead(200)]), streams)
    blank, event = written.pieces[-1].split(b"data: ")
    assert (blank, json.loads(event)["error"]["code"], record.reason) == (b"\n\n", "upstream_error", "upstream_error")
    assert DONE not in written.pieces


async def test_a_silent_stream_is_kept_alive_by_comments() -> None:
    class Slow(StandInAnswer):
        async def pieces(self) -> AsyncGenerator[bytes]:
            await asyncio.sleep(0.25)
            self.tail = ResponseTail()
            yield DONE

    _, written = await relay(Slow([ResponseHead(200)]), ping_interval_s=0.1)
    assert written.pieces == [PING, PING, DONE, b""]


async def test_a_busy_stream_has_no_comments() -> None:
    class Steady(StandInAnswer):
        async def pieces(self) -> AsyncGenerator[bytes]:
            for _ in range(6):
                await asyncio.sleep(0.05)
                yield b"data: 1\n\n"
            self.tail = ResponseTail()

    _, written = await relay(Steady([ResponseHead(200)]), ping_interval_s=0.2)
    assert PING not in written.pieces


async def test_an_engine_that_falls_silent_ends_the_stream_with_a_timeout() -> None:
    class Silent(StandInAnswer):
        async def pieces(self) -> AsyncGenerator[bytes]:
            yield b"data: 1\n\n"
            await asyncio.Event().wait()

    record, written = await relay(Silent([ResponseHead(200)]), ping_interval_s=0.1, stream_idle_timeout_s=0.25)
    *begun, last = written.pieces
    assert begun == [b"data: 1\n\n", PING, PING]
    assert (json.loads(last.partition(b"data: ")[2])["error"]["code"], record.reason) == ("timeout", "timeout")


class Endless(StandInAnswer):
    """An engine that never ends and is never slow."""

    PIECE = b"data: " + b"x" * 994

    def __init__(self) -> None:
        super().__init__([ResponseHead(200)])
        self.buffer_bytes = 10_000
        self.made = 0
        self.cancelled = False

    async def pieces(self) -> AsyncGenerator[bytes]:
        try:
            while True:
                self.made += len(self.PIECE)
                yield self.PIECE
        finally:
            self.cancelled = True


class Reader:
    """A client that at first takes nothing, and from a signal on everything."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.reads = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await self.reads.wait()
            self.taken.append(message["body"])


async def settled(engine: Endless) -> int:
    """How many bytes the engine has made, once it makes no more."""
    made = -1
    while made != engine.made:
        made = engine.made
        for _ in range(10):
            await asyncio.sleep(0)
    return made


@pytest.mark.parametrize("events", [True, False], ids=["events", "bytes"])
class TestAReaderThatStalls:
    def start(self, events: bool, engine: Endless, reader: Reader, **limits: Any) -> "asyncio.Task[None]":
        bounds = Limits(**limits)
        response = ResponseWriter(reader.send, lambda _: (), bounds.write_stall_timeout_s)
        if events:
            relaying = relay_events(response, RequestRecord(""), engine, bounds, failure_event, streams=OpenStreams())
        else:
            relaying = relay_bytes(response, RequestRecord(""), engine, bounds, streams=OpenStreams())
        return asyncio.create_task(relaying)

    async def test_no_more_is_read_from_the_engine_than_may_wait(self, events: bool) -> None:
        engine = Endless()
        task = self.start(events, engine, Reader())
        assert await asyncio.wait_for(settled(engine), 5) == 1_000 + 10_000  # in the write, and in the buffer
        task.cancel()

    async def test_when_it_goes_on_it_gets_all_of_it_in_fewer_writes(self, events: bool) -> None:
        engine, reader = Endless(), Reader()
        task = self.start(events, engine, reader)
        made = await asyncio.wait_for(settled(engine), 5)
        reader.reads.set()
        while len(reader.taken) < 2:
            await asyncio.sleep(0)
        assert reader.taken[:2] == [Endless.PIECE, Endless.PIECE * (made // 1_000 - 1)]
        task.cancel()

    async def test_after_a_while_it_is_cut_and_the_engine_s_work_is_cancelled(self, events: bool) -> None:
        engine = Endless()
        with pytest.raises(ReaderStalled):
            await self.start(events, engine, Reader(), write_stall_timeout_s=0.05)
        assert engine.cancelled


class TestAnEngineThatNothingSlowsDown:
    """Over Ray's actors all that it makes is read, so the gateway has a bound of its own."""

    async def test_a_stream_that_its_reader_leaves_far_behind_ends(self) -> None:
        engine = Endless()
        engine.slows_down = False
        bounds = Limits()
        response = ResponseWriter(Reader().send, lambda _: (), bounds.write_stall_timeout_s)
        with pytest.raises(ReaderStalled):
            await asyncio.wait_for(relay_bytes(response, RequestRecord(""), engine, bounds, streams=OpenStreams()), 5)
        assert engine.made == 1_000 + 40_000  # in the write, and in the buffer
        assert engine.cancelled
