"""The slots of replicas that a gateway holds: shared, waited for, cancelled, given back."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from ray.serve.exceptions import BackPressureError

from app.upstream import slot_pool
from app.upstream.connection_carrier import ConnectionAnswer
from app.upstream.serve_failure import ReplicaLost
from contract.errors import ApiError, model_starting
from contract.protocol import RequestHead, ResponseHead, ResponseItem, ResponseTail, SlotRequest
from deployments import slots
from tests.unit.connected import HEAD, Echo, Held, Replica, read, until


async def one_that_waits_behind_another(replica: Replica, engine: Held) -> list[asyncio.Task[ConnectionAnswer]]:
    """Two requests: one under way, and one that Serve has no slot for."""
    first = asyncio.create_task(replica.answer())
    await engine.entered.wait()
    replica.handle.gives_slots.clear()
    second = asyncio.create_task(replica.answer())
    await until(lambda: len(replica.handle.calls) == 2)
    return [first, second]


async def test_requests_one_after_the_other_share_a_slot() -> None:
    replica = Replica(Echo())
    for _ in range(5):
        await replica.answer()
    assert len(replica.handle.requests) == 1


async def test_requests_at_the_same_time_have_a_slot_each() -> None:
    replica = Replica(Echo())
    await asyncio.gather(*(replica.answer() for _ in range(5)))
    assert len(replica.handle.requests) == 5


async def test_all_slots_of_a_replica_share_a_connection() -> None:
    replica = Replica(Echo())
    await asyncio.gather(*(replica.answer() for _ in range(5)))
    assert len(replica.slots._connections) == 1


async def test_a_request_that_waits_for_serve_takes_the_slot_that_another_leaves() -> None:
    engine = Held(begins=False)
    replica = Replica(engine)
    first, second = await one_that_waits_behind_another(replica, engine)
    engine.go_on.set()
    await asyncio.wait_for(asyncio.gather(first, second), 5)


async def test_who_has_waited_longest_comes_first() -> None:
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


async def test_a_call_to_serve_that_nobody_waits_for_is_cancelled() -> None:
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


async def test_who_comes_as_a_call_is_cancelled_has_one_of_its_own() -> None:
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


async def test_one_that_is_left_over_is_cancelled_too() -> None:
    engine = Held(begins=False)
    replica = Replica(engine)
    first, second = await one_that_waits_behind_another(replica, engine)
    engine.go_on.set()
    await asyncio.wait_for(asyncio.gather(first, second), 5)
    await until(replica.handle.calls[1].is_over)


async def test_one_that_serve_gives_in_the_moment_of_its_call_s_end_is_given_back() -> None:
    replica = Replica(Echo())
    replica.handle.gives_slots.clear()
    slot = replica.handle.options(method_name="slot")
    call = slot_pool.SlotCall(slot, SlotRequest(), replica.connections)
    await until(lambda: replica.handle.calls)
    replica.handle.calls[0].when_assigned = call.cancel
    replica.handle.gives_slots.set()
    await until(replica.handle.calls[0].is_over)
    assert not replica.slots._held


async def test_serve_that_refuses_fails_one_request_and_no_other() -> None:
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


async def test_a_slot_that_is_not_used_for_a_while_is_given_back() -> None:
    replica = Replica(Echo())
    await asyncio.gather(*(replica.answer() for _ in range(3)))
    await until(lambda: not replica.slots._held)


async def test_one_that_no_gateway_ever_uses_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "UNUSED_SECONDS", 0.05)
    replica = Replica(Echo())
    call = replica.handle.options(method_name="slot").remote(SlotRequest())
    assert (await anext(call)).number == 1
    await until(lambda: not replica.slots._held)


async def test_one_that_is_used_for_long_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "UNUSED_SECONDS", 0.05)
    engine = Held()
    answer = await Replica(engine).answer()
    await asyncio.sleep(0.1)
    engine.go_on.set()
    assert await read(answer) == b"data: 1\n\n"
    assert answer.tail == ResponseTail()


async def test_an_old_slot_is_given_back_after_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_pool, "MOST_SECONDS", 0)
    replica = Replica(Echo())
    for _ in range(3):
        await replica.answer()
    assert len(replica.handle.requests) == 3


async def test_what_chooses_the_replica_goes_to_serve_each_time() -> None:
    replica = Replica(Echo())
    await replica.answer()
    for head in (HEAD._replace(session="digest"), HEAD._replace(prefix=(1, 2))):
        await replica.answer(head=head)
    assert [request.prefix for request in replica.handle.requests] == [(), (), (1, 2)]
    assert replica.handle.given_options[1:] == [{"session_id": "digest"}]


async def test_a_slot_is_held_until_the_work_has_ended() -> None:
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


async def test_a_request_waits_for_the_end_of_the_work_before_it_on_its_slot() -> None:
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


async def test_one_that_serve_takes_away_is_lost() -> None:
    engine = Held(begins=False)
    replica = Replica(engine)
    starting = asyncio.create_task(replica.answer())
    await engine.entered.wait()
    replica.handle.calls[0].cancel()
    with pytest.raises(ReplicaLost):
        await asyncio.wait_for(starting, 5)


@pytest.mark.parametrize("prefix", [(), (1, 2)], ids=["any replica", "its prefix's replica"])
async def test_who_waits_where_no_replica_runs_is_told_that_the_model_is_starting(prefix: tuple[int, ...]) -> None:
    replica = Replica(Echo())
    replica.handle.gives_slots.clear()
    waiting = [asyncio.create_task(replica.answer(head=HEAD._replace(prefix=prefix))) for _ in range(3)]
    await until(lambda: len(replica.handle.calls) == 3)
    replica.carrier.refuse_waiting("alpha", model_starting())
    for one in waiting:
        with pytest.raises(ApiError) as refused:
            await asyncio.wait_for(one, 5)
        assert (refused.value.status, refused.value.code) == (503, "model_starting")
    replica.handle.gives_slots.set()
    await until(lambda: all(call.is_over() for call in replica.handle.calls))
    assert (await asyncio.wait_for(replica.answer(), 5)).head.status == 200


async def test_a_request_that_a_replica_has_is_not_refused_with_those_that_wait() -> None:
    engine = Held(begins=False)
    replica = Replica(engine)
    first, second = await one_that_waits_behind_another(replica, engine)
    replica.carrier.refuse_waiting("alpha", model_starting())
    with pytest.raises(ApiError, match="starting"):
        await asyncio.wait_for(second, 5)
    engine.go_on.set()
    assert (await asyncio.wait_for(first, 5)).head.status == 200
