"""The relay over deployment handles: retries, time limits, and how Ray's failures are told."""

import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError

from app.errors import ApiError
from app.relay import HandleRelay
from deployments.protocol import RequestHead, ResponseHead, ResponseTail

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

    async def ask_whether_up(self, _: str) -> bool:
        return self.now


async def send(
    handle: Handle, timeout_s: float = 5, wake_s: float = 5, replicas: Replicas | None = None, head: RequestHead = HEAD
) -> Any:
    relay = HandleRelay({"alpha": handle}, replicas or Replicas(), {"alpha": wake_s})
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


async def test_a_client_that_leaves_before_the_first_byte_cancels_the_work() -> None:
    handle = Handle([5.0, ResponseHead(200)])
    task = asyncio.create_task(send(handle))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert handle.streams[0].cancelled
