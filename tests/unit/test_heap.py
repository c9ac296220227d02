"""Memory that was freed goes back to the system, also where glibc by itself keeps it; what stays is left alone."""

import asyncio
import ctypes
import gc
import sys
import threading
import weakref

import psutil
import pytest

from app.background import heap

MB = 10**6
FREED_MB = 100


def hole_in_the_heap() -> list[bytes]:
    """A thread fills its heap and frees nearly all of it. What is returned is at the end of that, so glibc keeps it."""
    kept: list[bytes] = []

    def fill() -> None:
        blocks = [bytes(1000) for _ in range(FREED_MB * 1000)]
        kept.extend(blocks[-1:])
        del blocks

    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()
    return kept


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's")
async def test_what_is_free_in_the_middle_of_a_heap_is_given_back_beside_the_requests() -> None:
    process = psutil.Process()
    kept = hole_in_the_heap()
    before = process.memory_info().rss
    trimming = asyncio.create_task(heap.keep_trimmed())
    async with asyncio.timeout(20):
        while process.memory_info().rss > before - FREED_MB * MB / 2:
            await asyncio.sleep(0.05)
    assert kept
    assert not trimming.done()
    trimming.cancel()


async def test_where_the_c_library_has_no_such_call_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    await asyncio.wait_for(heap.keep_trimmed(), 5)


def test_what_has_settled_is_not_searched_for_garbage_and_what_comes_later_is() -> None:
    class Circle:
        def __init__(self) -> None:
            self.itself = self

    threshold = gc.get_threshold()
    stays: list[list[int]] = [[] for _ in range(1000)]
    circle = weakref.ref(Circle())
    try:
        heap.settle()
        assert circle() is None
        assert gc.get_freeze_count() > len(stays)
        assert len(gc.get_objects()) < len(stays)
        later = weakref.ref(Circle())
        young: list[list[int]] = [[] for _ in range(2 * heap.YOUNG_OBJECTS)]
        assert later() is None, "a search has found it"
        del young
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
