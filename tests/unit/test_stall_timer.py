"""Waits for a reader: each is bounded by itself, and who cancels from outside still cancels."""

import asyncio
import gc
import weakref

import pytest

from app.http.stall_timer import ReaderStalled, StallTimer

TIMEOUT_S = 0.1


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_wait_that_takes_too_long_is_given_up() -> None:
    timer = StallTimer(TIMEOUT_S)
    with pytest.raises(ReaderStalled), timer:
        await for_ever()


async def test_each_wait_has_the_whole_time_for_itself() -> None:
    timeout_s = 1.0  # long beside what a busy machine is late by
    timer = StallTimer(timeout_s)
    for _ in range(3):
        with timer:
            await asyncio.sleep(0.4 * timeout_s)
    began = asyncio.get_running_loop().time()
    with pytest.raises(ReaderStalled), timer:
        await for_ever()
    assert asyncio.get_running_loop().time() - began >= timeout_s


async def test_time_between_two_waits_does_not_count() -> None:
    timer = StallTimer(TIMEOUT_S)
    with timer:
        pass
    await asyncio.sleep(2 * TIMEOUT_S)
    with pytest.raises(ReaderStalled), timer:
        await for_ever()


async def test_after_a_stall_the_task_goes_on_uncancelled() -> None:
    timer = StallTimer(TIMEOUT_S)
    with pytest.raises(ReaderStalled), timer:
        await for_ever()
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_wait_can_be_given_up_at_once() -> None:
    timer = StallTimer(60)
    asyncio.get_running_loop().call_later(0.01, timer.give_up)
    with pytest.raises(ReaderStalled), timer:
        await for_ever()
    timer.give_up()  # nothing waits
    with timer:
        await asyncio.sleep(0)
    timer.close()


@pytest.mark.parametrize("also", [False, True], ids=["alone", "with the reader stalled"])
async def test_who_cancels_the_task_cancels_it(also: bool) -> None:
    timer = StallTimer(60)

    async def wait() -> None:
        with timer:
            await for_ever()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    if also:
        timer.give_up()
    with pytest.raises(asyncio.CancelledError):
        await task
    timer.close()


async def test_a_closed_timer_keeps_nothing() -> None:
    timer = StallTimer(60)
    with timer:
        pass
    timer.close()
    reference = weakref.ref(timer)
    del timer
    gc.collect()
    assert reference() is None
