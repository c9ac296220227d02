"""Blocking calls: given up after their time, and never more under way than may be."""

import asyncio
import threading
from collections.abc import Generator

import pytest

from app.background.thread_calls import ThreadCalls


class Hanging:
    """A function that blocks until it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = threading.Event()

    def __call__(self) -> int:
        self.begun += 1
        self.go.wait()
        return self.begun


@pytest.fixture
def hanging() -> Generator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.go.set()


async def test_what_a_function_returns_and_raises_comes_back() -> None:
    calls = ThreadCalls("a look", 5)
    assert await calls.call(max, 1, 2) == 2
    with pytest.raises(ValueError, match="invalid literal"):
        await calls.call(int, "x")


async def test_a_function_that_hangs_is_given_up_and_the_loop_goes_on(hanging: Hanging) -> None:
    with pytest.raises(TimeoutError, match=r"a look: no answer within 0\.05 s"):
        await ThreadCalls("a look", 0.05).call(hanging)


async def test_calls_that_hang_do_not_pile_up(hanging: Hanging) -> None:
    calls = ThreadCalls("a look", 0.05)
    results = await asyncio.gather(*(calls.call(hanging) for _ in range(10)), return_exceptions=True)
    assert [type(result) for result in results] == [TimeoutError] * 10
    assert hanging.begun == 1


async def test_once_the_function_returns_the_next_call_is_made(hanging: Hanging) -> None:
    calls = ThreadCalls("a look", 30)
    given_up = asyncio.create_task(calls.call(hanging))
    while not hanging.begun:
        await asyncio.sleep(0.01)
    given_up.cancel()
    hanging.go.set()
    assert await calls.call(max, 1, 2) == 2


async def test_as_many_as_may_be_are_under_way_at_once() -> None:
    calls = ThreadCalls("images", 5, at_once=3)
    together = threading.Barrier(3)
    await asyncio.gather(*(calls.call(together.wait) for _ in range(3)))


async def test_a_call_that_is_cancelled_keeps_its_place_until_the_function_returns(hanging: Hanging) -> None:
    calls = ThreadCalls("a look", 0.05)
    task = asyncio.create_task(calls.call(hanging))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        await calls.call(max, 1, 2)
