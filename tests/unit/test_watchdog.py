"""An engine that has work and takes no step is given up; one that is slow, idle or late is not."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import psutil
import pytest

from deployments.watchdog import LOOKS, Watchdog

TIMEOUT_S = 0.1
LONG_S = 5 * TIMEOUT_S
# Starts a child that starts one of its own, and ends itself after a line of input.
CHILD = 'import subprocess; p = subprocess.Popen(["sleep", "60"]); print(p.pid, flush=True); p.wait()'
PROCESS = f"""
import subprocess, sys
from deployments.watchdog import end_process
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}])
print(child.pid, flush=True)
sys.stdin.readline()
end_process()
"""


class Engine:
    """Has the work, and has taken the steps, that a test says."""

    def __init__(self, unfinished: int = 0) -> None:
        self.waiting = unfinished
        self.taken = 0

    def unfinished(self) -> int:
        return self.waiting

    def steps(self) -> int:
        return self.taken


@asynccontextmanager
async def watched(engine: Engine) -> AsyncGenerator[list[str]]:
    """What the watchdog reports."""
    reports: list[str] = []
    watchdog = Watchdog(engine.unfinished, engine.steps, TIMEOUT_S, lambda: reports.append("stalled"))
    yield reports
    watchdog.close()


async def again_and_again(do: Callable[[], object]) -> None:
    for _ in range(50):
        do()
        await asyncio.sleep(LONG_S / 50)


async def test_an_engine_with_work_that_takes_no_step_is_given_up_once() -> None:
    async with watched(Engine(unfinished=1)) as reports:
        await asyncio.sleep(LONG_S)
    assert reports == ["stalled"]


async def test_an_engine_without_work_may_rest() -> None:
    async with watched(Engine()) as reports:
        await asyncio.sleep(LONG_S)
    assert reports == []


async def test_an_engine_that_takes_steps_may_be_at_work_for_long() -> None:
    engine = Engine(unfinished=1)

    def step() -> None:
        engine.taken += 1

    async with watched(engine) as reports:
        await again_and_again(step)
    assert reports == []


async def test_clients_that_give_up_do_not_hide_an_engine_that_hangs() -> None:
    engine = Engine(unfinished=1)

    def come_and_go() -> None:
        engine.waiting = 1 - engine.waiting

    async with watched(engine) as reports:
        await again_and_again(come_and_go)
    assert reports == ["stalled"]


async def test_a_loop_that_was_held_up_blames_nobody() -> None:
    async with watched(Engine(unfinished=1)) as reports:
        await asyncio.sleep(TIMEOUT_S / LOOKS)
        time.sleep(LONG_S)  # noqa: ASYNC251 - it is what the test is about
        await asyncio.sleep(0)
        assert reports == []


async def test_a_watchdog_that_is_closed_looks_no_more() -> None:
    engine = Engine(unfinished=1)
    async with watched(engine) as reports:
        pass
    await asyncio.sleep(LONG_S)
    assert reports == []


@pytest.mark.parametrize("child_is", ["running", "stopped"])
def test_the_end_of_a_process_is_the_end_of_all_that_it_started(child_is: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        started = [psutil.Process(int(process.stdout.readline())) for _ in range(2)]
        if child_is == "stopped":
            for one in started:
                one.suspend()
        process.communicate(b"\n", timeout=20)
    assert process.returncode == 1
    for one in started:
        wait_until_gone(one)


def wait_until_gone(process: psutil.Process) -> None:
    deadline = time.monotonic() + 10
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.02)
