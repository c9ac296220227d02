"""Half an hour of load in which one client of a hundred is faulty: `make soak`."""

import asyncio
import os
import time
from collections.abc import Coroutine, Iterator
from itertools import cycle
from typing import Any

import pytest

from contract.protocol import CHAT_ROUTE
from tests.reliability import soak
from tests.reliability.books import LOG_SECONDS, in_lines, unlike_lines
from tests.reliability.client import Load
from tests.reliability.clients import STREAM, of_json, read_nothing, send_a_byte_a_second, vanishing
from tests.reliability.kinds import KINDS
from tests.reliability.measuring import assert_in_time, settled_counters, until_counted, until_quiet
from tests.reliability.system import System

SECONDS = float(os.environ.get("PORTICO_SOAK_SECONDS", "1800"))
FAULTY = 0.01
UNREAD_SECONDS = 30.0
MOST_GROWTH_MB = 12.0  # in an hour

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 600)]


def faulty_clients(port: int) -> Iterator[Coroutine[Any, Any, None]]:
    """One kind after the other."""
    for _ in cycle([None]):
        yield from vanishing(port)
        yield read_nothing(port, UNREAD_SECONDS)
        yield send_a_byte_a_second(port, of_json(CHAT_ROUTE, STREAM))


async def test_nothing_is_lost_nothing_leaks_and_memory_does_not_grow(system: System) -> None:
    await until_quiet(system, None)
    counters, lines, before = await settled_counters(system), system.lines(), await system.vitals()
    every = 1 / (FAULTY * sum(kind.per_second for kind in KINDS))
    faulty: list[tuple[float, asyncio.Task[None]]] = []
    samples: list[tuple[int, int]] = []
    began = time.monotonic()

    async def misbehave() -> None:
        clients = faulty_clients(system.port)
        while True:
            await asyncio.sleep(every)
            faulty.append((time.monotonic() - began, asyncio.create_task(next(clients))))

    async with Load(system.url, KINDS) as load:
        misbehaving = asyncio.create_task(misbehave())
        for minute in range(1, round(SECONDS / soak.MINUTE) + 1):
            await asyncio.sleep(began + minute * soak.MINUTE - time.monotonic())
            vitals = await system.vitals()
            samples.append((vitals.megabytes, vitals.descriptors))
        misbehaving.cancel()
        await load.finish()
    await asyncio.gather(*(task for _, task in faulty))
    await asyncio.sleep(LOG_SECONDS)
    minutes = []
    for number, (megabytes, descriptors) in enumerate(samples):
        start, end = number * soak.MINUTE, (number + 1) * soak.MINUTE
        sent = [one for one in load.ended if start <= one.sent - began < end]
        faults = sum(start <= at < end for at, _ in faulty)
        minutes.append(soak.minute_of(number + 1, sent, faults, megabytes, descriptors))
    soak.write(minutes)
    assert sum(one.bad for one in minutes) == 0
    assert_in_time(load.ended)
    assert await until_quiet(system, before) == []
    new = {key: line for key, line in system.lines().items() if key not in lines}
    assert list(unlike_lines(load.ended, new)) == []
    assert await until_counted(system, in_lines(new.values()) + counters) == []
    assert soak.growth_mb_per_hour(minutes) < MOST_GROWTH_MB
