"""The relay over deployment handles: retries, time limits, and how Ray's failures are reported."""

import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError

from app.upstream.handle_carrier import HandleCarrier
from app.upstream.relay import Relay
from contract.errors import ApiError
from contract.protocol import RequestHead, ResponseHead, ResponseTail

HEAD = RequestHead("/v1/chat/completions", "id", include_usage=False, echo={})
DIED = ActorDiedError()


class Stream:
    """A streaming handle's response of given items; an exception is raised, a number of seconds is waited."""

    def __init__(self, items: list[Any]) -> None:
        self.items = list(items)
        self.cancelled = False
        self.raised: Exception | None = None

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Any:
        if not self.items:
            raise StopAsyncIteration
        item = self.items.pop(0)
        if isinstance(item, float):
            await asyncio.sleep(item)
            return await self.__anext__()
        if isinstance(item, Exception):
            self.raised = item
            raise item
        return item

    def cancel(self) -> None:
        if self.raised:
            raise self.raised  # as Serve's does
        self.cancelled = True


class Handle:
    """A deployment handle that answers with one list of items after the other."""

    def __init__(self, *answers: list[Any]) -> None:
        self.streams = [Stream(items) for items in answers]
        self.calls = 0

    def options(self, **_: Any) -> "Handle":
        return self

    def remote(self, *_: Any) -> Stream:
        self.calls += 1
        return self.streams[self.calls - 1]


class Replicas:
    """What is known here of replicas (`known`), and what Serve says when it is asked (`now`)."""

    def __init__(self, known: bool = True, now: bool = True) -> None:
        self.known, self.now = known, now

    def is_up(self, _: str) -> bool:
        return self.known

    async def check_whether_up(self, _: str) -> bool:
        return self.now


def relay_over(handles: dict[str, Any], replicas: Replicas, wake_timeouts_s: dict[str, float]) -> Relay:
    return Relay(HandleCarrier(handles, 10_000), handles, replicas, wake_timeouts_s)


async def send(
    handle: Handle, timeout_s: float = 5, wake_s: float = 5, replicas: Replicas | None = None, head: RequestHead = HEAD
) -> Any:
    relay = relay_over({"alpha": handle}, replicas or Replicas(), {"alpha": wake_s})
    return await relay.send("alpha", head, b"{}", timeout_s)


async def test_a_stream_is_its_head_its_pieces_and_its_tail() -> None:
    handle = Handle([ResponseHead(200), b"a", b"b", ResponseTail({"prompt_tokens": 1})])
    answer = await send(handle)
    assert [piece async for piece in answer.pieces()] == [b"a", b"b"]
    assert answer.tail.usage == {"prompt_tokens": 1}
    answer.close()
    assert not handle.streams[0].cancelled


async def test_closing_an_answer_under_way_cancels_it() -> None:
    handle = Handle([ResponseHead(200), b"a", b"b", ResponseTail()])
    answer = await send(handle)
    answer.close()
    assert handle.streams[0].cancelled


async def test_an_error_in_the_head_is_raised() -> None:
    with pytest.raises(ApiError) as caught:
        await send(Handle([ResponseHead(422, error=ApiError("context_length_exceeded", "long", param="x").to_wire())]))
    assert (caught.value.status, caught.value.code, caught.value.param) == (422, "context_length_exceeded", "x")


async def test_a_replica_that_dies_before_its_first_byte_is_tried_once_more() -> None:
    handle = Handle([DIED], [ResponseHead(200, body=b"ok")])
    assert (await send(handle)).head.body == b"ok"
    assert handle.calls == 2


async def test_a_second_death_is_a_502() -> None:
    handle = Handle([DIED], [DIED], [ResponseHead(200, body=b"ok")])
    with pytest.raises(ApiError) as caught:
        await send(handle)
    assert (caught.value.status, handle.calls) == (502, 2)


async def test_after_the_first_byte_nothing_is_tried_again() -> None:
    handle = Handle([ResponseHead(200), b"a", DIED], [ResponseHead(200)])
    answer = await send(handle)
    with pytest.raises(ApiError) as caught:
        [piece async for piece in answer.pieces()]
    assert (caught.value.code, handle.calls, answer.tail) == ("upstream_error", 1, None)


async def test_a_full_queue_is_a_503() -> None:
    with pytest.raises(ApiError) as caught:
        await send(Handle([BackPressureError(num_queued_requests=1, max_queued_requests=1)]))
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "overloaded", 5)


async def test_an_exception_of_the_replica_is_a_502_without_its_text() -> None:
    with pytest.raises(ApiError) as caught:
        await send(Handle([RayTaskError("handle", "Traceback: /secret", ValueError("secret"))]))
    assert caught.value.status == 502
    assert "secret" not in caught.value.message


async def test_no_first_byte_in_time_is_a_504_and_cancels_the_work() -> None:
    handle = Handle([5.0, ResponseHead(200)])
    with pytest.raises(ApiError) as caught:
        await send(handle, timeout_s=0.05)
    assert (caught.value.status, handle.streams[0].cancelled) == (504, True)


async def test_the_time_in_a_queue_before_is_part_of_the_limit() -> None:
    relay = relay_over({"alpha": Handle([5.0, ResponseHead(200)])}, Replicas(), {})
    with pytest.raises(ApiError) as caught:
        await relay.send("alpha", HEAD, b"{}", 60, waited_s=59.95)
    assert caught.value.code == "timeout"


async def test_a_client_that_leaves_before_the_first_byte_cancels_the_work() -> None:
    handle = Handle([5.0, ResponseHead(200)])
    task = asyncio.create_task(send(handle))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert handle.streams[0].cancelled


class SleepingHandle(Handle):
    """A handle of a model without replicas: its streams wait, until `describe` has been let through."""

    def __init__(self, *answers: list[Any]) -> None:
        super().__init__(*answers)
        self.options_given: dict[str, Any] = {}
        self.describes = 0
        self.up = asyncio.Event()

    def options(self, **options: Any) -> "SleepingHandle":
        self.options_given |= options
        return self

    @property
    def describe(self) -> Any:
        return type("Method", (), {"remote": lambda _: self._describe()})()

    async def _describe(self) -> dict[str, Any]:
        self.describes += 1
        await self.up.wait()
        return {}


ASLEEP = Replicas(known=False, now=False)


class TestWaking:
    async def test_a_request_waits_for_a_model_that_wakes(self) -> None:
        handle = SleepingHandle([0.05, ResponseHead(200, body=b"ok")])
        assert (await send(handle, replicas=ASLEEP)).head.body == b"ok"
        assert handle.describes == 1

    async def test_after_the_limit_it_is_told_to_come_back_and_the_model_goes_on_waking(self) -> None:
        handle = SleepingHandle([5.0, ResponseHead(200)])
        with pytest.raises(ApiError) as caught:
            await send(handle, wake_s=0.05, replicas=ASLEEP)
        assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "model_starting", 5)
        assert handle.streams[0].cancelled
        assert handle.describes == 1, "nothing is left that wakes the model"

    async def test_the_time_in_a_queue_before_is_part_of_that_limit(self) -> None:
        relay = relay_over({"alpha": SleepingHandle([5.0, ResponseHead(200)])}, ASLEEP, {"alpha": 60})
        with pytest.raises(ApiError) as caught:
            await relay.send("alpha", HEAD, b"", 600, waited_s=59.95)
        assert caught.value.code == "model_starting"

    async def test_many_waiting_requests_wake_a_model_by_one_call(self) -> None:
        handle = SleepingHandle([0.05, ResponseHead(200)], [0.05, ResponseHead(200)], [0.05, ResponseHead(200)])
        relay = relay_over({"alpha": handle}, ASLEEP, {"alpha": 5})
        await asyncio.gather(*(relay.send("alpha", HEAD, b"", 5) for _ in range(3)))
        assert handle.describes == 1

    async def test_once_the_model_is_up_only_the_time_to_the_first_byte_counts(self) -> None:
        handle = SleepingHandle([0.2, ResponseHead(200, body=b"slow")])
        handle.up.set()
        answer = await send(handle, timeout_s=5, wake_s=0.05, replicas=Replicas(known=False, now=True))
        assert answer.head.body == b"slow"

    async def test_and_it_counts_from_then(self) -> None:
        handle = SleepingHandle([0.3, ResponseHead(200)])
        asyncio.get_running_loop().call_later(0.1, handle.up.set)
        with pytest.raises(ApiError) as caught:
            await send(handle, timeout_s=0.1, wake_s=5, replicas=ASLEEP)
        assert caught.value.code == "timeout"

    async def test_a_model_that_is_up_is_never_waited_for_by_the_limit_of_waking(self) -> None:
        handle = Handle([0.1, ResponseHead(200, body=b"slow")])
        assert (await send(handle, wake_s=0.02, replicas=Replicas(known=True, now=True))).head.body == b"slow"

    async def test_a_model_that_fell_asleep_unseen_is_found_out_at_that_limit(self) -> None:
        handle = SleepingHandle([5.0, ResponseHead(200)])
        with pytest.raises(ApiError) as caught:
            await send(handle, wake_s=0.02, replicas=Replicas(known=True, now=False))
        await asyncio.sleep(0)  # the call is a task of its own
        assert (caught.value.code, handle.describes) == ("model_starting", 1)

    async def test_a_call_that_wakes_in_vain_is_made_again_by_the_next_request(self) -> None:
        handle = SleepingHandle([0.01, ResponseHead(200)], [0.01, ResponseHead(200)])

        async def failed() -> dict[str, Any]:
            handle.describes += 1
            raise DIED

        handle._describe = failed  # type: ignore[method-assign]
        relay = relay_over({"alpha": handle}, ASLEEP, {"alpha": 5})
        for _ in range(2):
            await relay.send("alpha", HEAD, b"", 5)
            await asyncio.sleep(0)
        assert handle.describes == 2

    async def test_a_model_that_never_sleeps_has_no_limit_of_waking(self) -> None:
        handle = Handle([0.05, ResponseHead(200, body=b"ok")])
        relay = relay_over({"alpha": handle}, ASLEEP, {})
        assert (await relay.send("alpha", HEAD, b"", 5)).head.body == b"ok"


async def test_a_session_goes_to_the_router_and_no_session_changes_nothing() -> None:
    handle = SleepingHandle([ResponseHead(200)], [ResponseHead(200)])
    await send(handle)
    assert "session_id" not in handle.options_given
    await send(handle, head=HEAD._replace(session="digest"))
    assert handle.options_given["session_id"] == "digest"
