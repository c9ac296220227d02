"""Requests over connections: the same answers as over a handle, bounded, cancelled and lost as the contract says."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from app.upstream.serve_failure import ReplicaLost
from contract.errors import ApiError
from contract.protocol import RequestHead, ResponseHead, ResponseItem, ResponseTail
from tests.unit.connected import HEAD, USAGE, WINDOW_BYTES, Echo, Held, Replica, read, until


async def test_a_whole_answer_comes_as_the_engine_gave_it() -> None:
    engine = Echo()
    head = HEAD._replace(include_usage=True, echo={"metadata": {"a": "b"}}, strict=True)
    answer = await Replica(engine).answer(b'{"a": "\xc3\xa4"}', head)
    assert answer.head == ResponseHead(200, body=b'{"a": "\xc3\xa4"}', usage=USAGE, clamped=(("max_tokens", 9, 3),))
    assert engine.heads == [head]


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
async def test_a_body_of_any_size_gets_there_and_back(size: int) -> None:
    replica = Replica(Echo())
    body = bytes(range(256)) * (size // 256 + 1)
    answer = await asyncio.wait_for(replica.answer(body[:size]), 10)
    assert answer.head.body == body[:size]


async def test_a_stream_is_its_head_its_pieces_and_its_tail() -> None:
    answer = await Replica(Echo(pieces=3)).answer(b"data: 1\n\n")
    assert answer.head == ResponseHead(200, "text/event-stream")
    assert await read(answer) == b"data: 1\n\n" * 3
    assert answer.tail == ResponseTail(USAGE)


async def test_pieces_of_any_size_come_through_a_window_that_is_smaller() -> None:
    answer = await Replica(Echo(pieces=5)).answer(b"x" * (2 * WINDOW_BYTES + 1))
    assert await asyncio.wait_for(read(answer), 10) == b"x" * (2 * WINDOW_BYTES + 1) * 5


async def test_an_error_in_the_head_is_raised() -> None:
    async def engine(_: RequestHead, __: bytes) -> AsyncGenerator[ResponseItem]:
        yield ResponseHead(422, error=ApiError("context_length_exceeded", "long", param="x").to_wire())

    with pytest.raises(ApiError) as caught:
        await Replica(engine).answer()
    assert (caught.value.status, caught.value.code, caught.value.param) == (422, "context_length_exceeded", "x")


async def test_an_error_in_the_tail_is_there() -> None:
    async def engine(_: RequestHead, __: bytes) -> AsyncGenerator[ResponseItem]:
        yield ResponseHead(200, "text/event-stream")
        yield ResponseTail(error=ApiError("overloaded", "full").to_wire())

    answer = await Replica(engine).answer()
    assert await read(answer) == b""
    assert answer.tail is not None
    assert answer.tail.error is not None


class TestCancelling:
    async def test_closing_an_answer_under_way_cancels_the_work(self) -> None:
        engine = Held()
        replica = Replica(engine)
        (await replica.answer()).close()
        await asyncio.wait_for(engine.left.wait(), 1)
        await until(lambda: not replica.slots._held)

    async def test_a_client_that_leaves_before_the_first_byte_cancels_the_work(self) -> None:
        engine = Held(begins=False)
        replica = Replica(engine)
        attempt = replica.attempt()
        starting = asyncio.create_task(attempt.start())
        await engine.entered.wait()
        starting.cancel()
        attempt.close()
        await asyncio.wait_for(engine.left.wait(), 1)

    async def test_one_that_leaves_before_there_is_a_slot_leaves_none_behind(self) -> None:
        replica = Replica(Echo())
        attempt = replica.attempt()
        starting = asyncio.create_task(attempt.start())
        await asyncio.sleep(0)
        starting.cancel()
        attempt.close()
        await until(lambda: not replica.slots._held)
        await replica.answer()  # and the next one gets one

    async def test_a_cancelled_answer_leaves_nothing_to_the_next_one(self) -> None:
        replica = Replica(Echo(pieces=1_000))
        (await replica.answer(b"old")).close()
        assert await read(await replica.answer(b"new")) == b"new" * 1_000


class TestAReaderThatStalls:
    async def test_the_engine_is_no_more_than_a_window_ahead(self) -> None:
        made = 0

        async def engine(_: RequestHead, __: bytes) -> AsyncGenerator[ResponseItem]:
            nonlocal made
            yield ResponseHead(200, "text/event-stream")
            while True:
                made += 1_000
                yield b"x" * 1_000

        answer = await Replica(engine).answer()
        await until(lambda: made >= WINDOW_BYTES)
        await asyncio.sleep(0.05)
        assert made <= WINDOW_BYTES + 2_000
        answer.take()
        for _turn in range(3):
            while answer.take():
                pass
            await answer.wait()
        await until(lambda: made > WINDOW_BYTES + 2_000)
        answer.close()

    async def test_others_on_the_same_connection_go_on(self) -> None:
        async def engine(_: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
            yield ResponseHead(200, "text/event-stream")
            for _turn in range(1_000):
                yield body
            yield ResponseTail()

        replica = Replica(engine)
        stalled = await replica.answer(b"x" * 1_000)
        assert len(await asyncio.wait_for(read(await replica.answer(b"y" * 1_000)), 10)) == 1_000_000
        stalled.close()


class TestALostReplica:
    async def test_before_the_first_byte(self) -> None:
        engine = Held(begins=False)
        replica = Replica(engine)
        starting = asyncio.create_task(replica.answer())
        await engine.entered.wait()
        for connection in list(replica.slots._connections):
            connection._transport.abort()
        with pytest.raises(ReplicaLost):
            await asyncio.wait_for(starting, 5)

    async def test_after_it_the_stream_has_no_tail(self) -> None:
        replica = Replica(Held())
        answer = await replica.answer()
        for connection in list(replica.slots._connections):
            connection._transport.abort()
        assert await asyncio.wait_for(read(answer), 5) == b"data: 1\n\n"
        assert answer.tail is None

    async def test_the_next_request_connects_again(self) -> None:
        replica = Replica(Echo())
        await replica.answer()
        for connection in list(replica.slots._connections):
            connection._transport.abort()
        await until(lambda: not replica.slots._connections)
        assert (await replica.answer(b"again")).head.body == b"again"

    async def test_a_gateway_that_is_gone_ends_its_work_and_its_slots(self) -> None:
        engine = Held()
        replica = Replica(engine)
        answer = await replica.answer()
        slot = answer._slot
        assert slot is not None
        slot.connection._transport.abort()
        await asyncio.wait_for(engine.left.wait(), 1)
        await until(lambda: not replica.slots._held)

    async def test_a_port_that_cannot_be_reached(self) -> None:
        replica = Replica(Echo())
        await replica.answer()
        replica.slots.close()
        await until(lambda: not replica.slots._connections)
        with pytest.raises(ReplicaLost):
            await replica.answer()
        await until(lambda: not replica.slots._held)


async def test_a_place_is_given_back_when_the_engine_is_done_not_when_the_client_is() -> None:
    answer = await Replica(Echo(pieces=3)).answer(b"x")
    ended = asyncio.Event()
    answer.when_ended(ended.set)
    await asyncio.wait_for(ended.wait(), 5)  # though nothing was read
    assert await read(answer) == b"xxx"
