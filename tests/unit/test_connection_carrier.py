"""Requests over connections: the same answers as over a handle, bounded, cancelled and lost as the contract says."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from ray.serve.exceptions import BackPressureError

from app.upstream import slot_pool
from app.upstream.serve_failure import ReplicaLost
from contract.errors import ApiError
from contract.protocol import RequestHead, ResponseHead, ResponseItem, ResponseTail, SlotRequest
from deployments import slots
from tests.unit.connected import HEAD, WINDOW_BYTES, Replica, read

USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


class Echo:
    """An engine that answers with the body it got: whole, or in `pieces`. It remembers what it was asked."""

    def __init__(self, pieces: int = 0) -> None:
        self.pieces = pieces
        self.heads: list[RequestHead] = []

    async def __call__(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        self.heads.append(request)
        if not self.pieces:
            yield ResponseHead(200, body=body, usage=USAGE, clamped=(("max_tokens", 9, 3),))
            return
        yield ResponseHead(200, "text/event-stream")
        for _ in range(self.pieces):
            yield body
        yield ResponseTail(USAGE)


class Held:
    """An engine that waits for `go_on` or to be cancelled: after a head and a first piece, or before (`begins`)."""

    def __init__(self, *, begins: bool = True) -> None:
        self.begins = begins
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        try:
            self.entered.set()
            if self.begins:
                yield ResponseHead(200, "text/event-stream")
                yield b"data: 1\n\n"
            await self.go_on.wait()
            if not self.begins:
                yield ResponseHead(200, "text/event-stream")
            yield ResponseTail()
        finally:
            self.left.set()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


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


class TestSlots:
    async def test_requests_one_after_the_other_share_a_slot(self) -> None:
        replica = Replica(Echo())
        for _ in range(5):
            await replica.answer()
        assert len(replica.handle.requests) == 1

    async def test_requests_at_the_same_time_have_a_slot_each(self) -> None:
        replica = Replica(Echo())
        await asyncio.gather(*(replica.answer() for _ in range(5)))
        assert len(replica.handle.requests) == 5

    async def test_all_slots_of_a_replica_share_a_connection(self) -> None:
        replica = Replica(Echo())
        await asyncio.gather(*(replica.answer() for _ in range(5)))
        assert len(replica.slots._connections) == 1

    async def test_a_request_that_waits_for_serve_takes_the_slot_that_another_leaves(self) -> None:
        engine = Held(begins=False)
        replica = Replica(engine)
        first = asyncio.create_task(replica.answer())
        await engine.entered.wait()
        replica.handle.gives_slots.clear()
        second = asyncio.create_task(replica.answer())
        await until(lambda: len(replica.handle.calls) == 2)
        engine.go_on.set()
        await asyncio.wait_for(asyncio.gather(first, second), 5)

    async def test_who_has_waited_longest_comes_first(self) -> None:
        order: list[bytes] = []

        async def engine(_: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
            order.append(body)
            yield ResponseHead(200, body=body)

        replica = Replica(engine)
        replica.handle.gives_slots.clear()
        waiting = [asyncio.create_task(replica.answer(b"%d" % number)) for number in range(9)]
        await until(lambda: len(replica.handle.calls) == 9)
        replica.handle.gives_slots.set()
        await asyncio.gather(*waiting)
        assert order == [b"%d" % number for number in range(9)]

    async def test_a_call_to_serve_that_nobody_waits_for_is_cancelled(self) -> None:
        replica = Replica(Echo())
        replica.handle.gives_slots.clear()
        attempts = [replica.attempt() for _ in range(5)]
        starting = [asyncio.create_task(attempt.start()) for attempt in attempts]
        await until(lambda: len(replica.handle.calls) == 5)
        for task in starting[:3]:
            task.cancel()
        await until(lambda: sum(call.is_over() for call in replica.handle.calls) == 3)
        replica.handle.gives_slots.set()
        await asyncio.wait_for(asyncio.gather(*starting[3:]), 5)

    async def test_who_comes_as_a_call_is_cancelled_has_one_of_its_own(self) -> None:
        replica = Replica(Echo())
        replica.handle.gives_slots.clear()
        pool = replica.carrier._pools["alpha"]
        leaving = asyncio.create_task(pool.take())
        await until(lambda: len(replica.handle.calls) == 1)
        leaving.cancel()
        await asyncio.sleep(0)  # its call is cancelled, and has not ended
        coming: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        pool._waiting.append(coming)
        pool._call_where_needed()
        await until(lambda: len(replica.handle.calls) == 2)
        replica.handle.gives_slots.set()
        assert (await asyncio.wait_for(coming, 5)).is_open

    async def test_one_that_is_left_over_is_cancelled_too(self) -> None:
        engine = Held(begins=False)
        replica = Replica(engine)
        first = asyncio.create_task(replica.answer())
        await engine.entered.wait()
        replica.handle.gives_slots.clear()
        second = asyncio.create_task(replica.answer())
        await until(lambda: len(replica.handle.calls) == 2)
        engine.go_on.set()
        await asyncio.wait_for(asyncio.gather(first, second), 5)
        await until(replica.handle.calls[1].is_over)

    async def test_one_that_serve_gives_in_the_moment_of_its_call_s_end_is_given_back(self) -> None:
        replica = Replica(Echo())
        replica.handle.gives_slots.clear()
        slot = replica.handle.options(method_name="slot")
        call = slot_pool.SlotCall(slot, SlotRequest(), replica.connections)
        await until(lambda: replica.handle.calls)
        replica.handle.calls[0].when_assigned = call.cancel
        replica.handle.gives_slots.set()
        await until(replica.handle.calls[0].is_over)
        assert not replica.slots._held

    async def test_serve_that_refuses_fails_one_request_and_no_other(self) -> None:
        engine = Held(begins=False)
        replica = Replica(engine)
        first = asyncio.create_task(replica.answer())
        await engine.entered.wait()
        replica.handle.refusals.append(BackPressureError(num_queued_requests=1, max_queued_requests=1))
        with pytest.raises(ApiError) as caught:
            await asyncio.wait_for(replica.answer(), 5)
        assert caught.value.code == "overloaded"
        engine.go_on.set()
        await asyncio.wait_for(first, 5)

    async def test_a_slot_that_is_not_used_for_a_while_is_given_back(self) -> None:
        replica = Replica(Echo())
        await asyncio.gather(*(replica.answer() for _ in range(3)))
        await until(lambda: not replica.slots._held)

    async def test_one_that_no_gateway_ever_uses_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slots, "UNUSED_SECONDS", 0.05)
        replica = Replica(Echo())
        call = replica.handle.options(method_name="slot").remote(SlotRequest())
        assert (await anext(call)).number == 1
        await until(lambda: not replica.slots._held)

    async def test_one_that_is_used_for_long_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slots, "UNUSED_SECONDS", 0.05)
        engine = Held()
        answer = await Replica(engine).answer()
        await asyncio.sleep(0.1)
        engine.go_on.set()
        assert await read(answer) == b"data: 1\n\n"
        assert answer.tail == ResponseTail()

    async def test_an_old_slot_is_given_back_after_its_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slot_pool, "MOST_SECONDS", 0)
        replica = Replica(Echo())
        for _ in range(3):
            await replica.answer()
        assert len(replica.handle.requests) == 3

    async def test_what_chooses_the_replica_goes_to_serve_each_time(self) -> None:
        replica = Replica(Echo())
        await replica.answer()
        for head in (HEAD._replace(session="digest"), HEAD._replace(prefix=(1, 2))):
            await replica.answer(head=head)
        assert [request.prefix for request in replica.handle.requests] == [(), (), (1, 2)]
        assert replica.handle.given_options[1:] == [{"session_id": "digest"}]

    async def test_a_slot_is_held_until_the_work_has_ended(self) -> None:
        ended = asyncio.Event()

        async def engine(_: RequestHead, __: bytes) -> AsyncGenerator[ResponseItem]:
            try:
                yield ResponseHead(200, "text/event-stream")
                await asyncio.Event().wait()
            finally:
                await ended.wait()  # an engine that takes its time to stop

        replica = Replica(engine)
        (await replica.answer()).close()
        await asyncio.sleep(0.05)
        assert replica.slots._held
        ended.set()
        await until(lambda: not replica.slots._held)

    async def test_a_request_waits_for_the_end_of_the_work_before_it_on_its_slot(self) -> None:
        ended = asyncio.Event()

        async def engine(_: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
            yield ResponseHead(200, body=body)
            if body == b"first":
                await ended.wait()  # after the answer

        replica = Replica(engine)
        await replica.answer(b"first")
        second = asyncio.create_task(replica.answer(b"second"))
        await asyncio.sleep(0.02)
        assert not second.done()
        ended.set()
        assert (await asyncio.wait_for(second, 5)).head.body == b"second"
        assert len(replica.handle.requests) == 1

    async def test_one_that_serve_takes_away_is_lost(self) -> None:
        engine = Held(begins=False)
        replica = Replica(engine)
        starting = asyncio.create_task(replica.answer())
        await engine.entered.wait()
        replica.handle.calls[0].cancel()
        with pytest.raises(ReplicaLost):
            await asyncio.wait_for(starting, 5)


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
