"""Background loops: begun again when they fail, and ended only by who started them."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from app.background.supervisor import Loop, Supervisor


class Work:
    """A loop that does `outcomes` one after the other, then waits."""

    def __init__(self, *outcomes: BaseException) -> None:
        self.outcomes = list(outcomes)
        self.begun = 0
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def run(self) -> None:
        self.begun += 1
        if self.outcomes:
            raise self.outcomes.pop(0)
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


@pytest.fixture
def failures() -> list[Loop]:
    return []


@pytest.fixture
async def supervisor(failures: list[Loop]) -> AsyncGenerator[Supervisor]:
    supervisor = Supervisor(failures.append, first_pause_s=0.001)
    yield supervisor
    supervisor.stop()


async def reached(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 5)


async def test_a_loop_that_fails_is_logged_with_its_traceback_counted_and_begun_again(
    supervisor: Supervisor, failures: list[Loop], caplog: Any
) -> None:
    work = Work(ValueError("first"), KeyError("second"))
    supervisor.keep(Loop.KEY_FILE, work.run)
    await reached(work.waiting)
    assert (work.begun, failures) == (3, [Loop.KEY_FILE] * 2)
    assert [str(r.exc_info[1]) for r in caplog.records if r.exc_info] == ["first", "'second'"]


async def test_a_cancellation_that_nobody_asked_for_is_a_failure(supervisor: Supervisor, failures: list[Loop]) -> None:
    work = Work(asyncio.CancelledError())
    supervisor.keep(Loop.READINESS_WATCH, work.run)
    await reached(work.waiting)
    assert failures == [Loop.READINESS_WATCH]


async def test_a_loop_that_is_stopped_has_not_failed(supervisor: Supervisor, failures: list[Loop]) -> None:
    work = Work()
    supervisor.keep(Loop.KEPT_IMAGES, work.run)
    await reached(work.waiting)
    supervisor.stop()
    await reached(work.cancelled)
    assert (work.begun, failures) == (1, [])


async def test_a_loop_takes_the_place_of_the_one_before_and_of_no_other(supervisor: Supervisor) -> None:
    before, after, other = Work(), Work(), Work()
    supervisor.keep(Loop.TOKENIZERS, before.run, of="alpha")
    supervisor.keep(Loop.TOKENIZERS, other.run, of="beta")
    await reached(before.waiting)
    supervisor.keep(Loop.TOKENIZERS, after.run, of="alpha")
    await reached(before.cancelled)
    await reached(after.waiting)
    assert not other.cancelled.is_set()


async def test_work_that_is_done_once_is_not_begun_again(supervisor: Supervisor, failures: list[Loop]) -> None:
    work = Work(ValueError())
    supervisor.run_once(Loop.TOKENIZERS, work.run)
    while not failures:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert work.begun == 1


async def test_the_pause_grows_up_to_a_bound(monkeypatch: pytest.MonkeyPatch, failures: list[Loop]) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    work = Work(*[ValueError()] * 9)
    monkeypatch.setattr("app.background.supervisor.asyncio.sleep", sleep)
    supervisor = Supervisor(failures.append)
    supervisor.keep(Loop.BUDGETS, work.run)
    await reached(work.waiting)
    supervisor.stop()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
