"""A fault in the midst of the load, and everything that is counted of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from math import inf
from typing import NamedTuple

from tests.reliability import table
from tests.reliability.books import LOG_SECONDS, in_lines, unlike_counters, unlike_lines
from tests.reliability.client import SILENT_SECONDS, Load
from tests.reliability.kinds import KINDS
from tests.reliability.outcomes import Ended, Verdict
from tests.reliability.system import System, Vitals

BEFORE_SECONDS, SECONDS = 12.0, 60.0  # of the load: until the fault, in all
AFTER_SECONDS = 10.0  # of the load, once all is whole again
QUIET_SECONDS = 45.0  # after the load, until nothing is held any more
COUNT_SECONDS = 60.0  # in which Ray's metrics reach the page, however busy the machine is
SETTLE_SECONDS = (
    20.0  # in which they nearly always do; where a gateway replica has died they never agree with the lines
)
# What a gateway replica may have more of than before: connections that are kept open for a minute, one per model's
# replica and a few of Ray's, with a task or two each; and what the allocator keeps.
MORE_TASKS, MORE_DESCRIPTORS, MORE_MEGABYTES = 25, 40, 60

WHOLE = {kind.name for kind in KINDS if kind.stream is None}
Fault = Callable[[System], Awaitable[None]]


class Measured(NamedTuple):
    """One fault under load."""

    ended: list[Ended]
    struck_at: float  # of the machine's monotonic clock, as `ended` has it
    disagreements: list[str]  # of clients, lines and counters
    leaks: list[str]

    def by_verdict(self, verdict: Verdict) -> list[Ended]:
        return [one for one in self.ended if one.verdict is verdict]

    def bad(self) -> Counter[str]:
        """What was not answered well, by kind and reason."""
        return Counter(
            f"{one.kind}: {one.verdict} {one.outcome.status} {one.outcome.reason}"
            for one in self.ended
            if one.verdict is not Verdict.OK
        )

    def recovery_s(self) -> float:
        """From the fault to the end of the first good answer after which no answer to its kind was bad; the worst kind.

        Nothing where no answer was bad, infinite where a kind was not answered well again.
        """
        return max(_recovery(kind, self.ended, self.struck_at) for kind in {one.kind for one in self.ended})


def _recovery(kind: str, ended: Iterable[Ended], struck_at: float) -> float:
    later = [one for one in ended if one.kind == kind and one.ended > struck_at]
    bad = [one.sent for one in later if one.verdict is not Verdict.OK]
    if not bad:
        return 0.0
    return (
        min((one.ended for one in later if one.verdict is Verdict.OK and one.sent > max(bad)), default=inf) - struck_at
    )


async def under_load(system: System, name: str, fault: Fault) -> Measured:
    """Load the service for a minute and longer, until all is whole again after `fault`, and write its row.

    `fault` returns once it has struck.
    """
    await until_quiet(system, None)
    before, counters, lines = await system.vitals(), await settled_counters(system), system.lines()
    system.gateway_died_at, system.node_ended = None, False
    began = time.monotonic()
    async with Load(system.url, KINDS) as load:
        await asyncio.sleep(BEFORE_SECONDS)
        struck_at = time.monotonic()
        await fault(system)
        await system.wait_whole()
        await asyncio.sleep(max(AFTER_SECONDS, began + SECONDS - time.monotonic()))
        seconds = time.monotonic() - began
        await load.finish()
    await asyncio.sleep(LOG_SECONDS)
    leaks = await until_quiet(system, before)
    new = {key: line for key, line in system.lines().items() if key not in lines}
    disagreements = list(unlike_lines(load.ended, new, system.gateway_died_at))
    if system.gateway_died_at is None and not system.node_ended:
        disagreements += await until_counted(system, in_lines(new.values()) + counters)
    measured = Measured(load.ended, struck_at, disagreements, leaks)
    table.put(_row(name, system.profile, seconds, measured))
    print(f"\n{name}: {len(load.ended)} requests in {seconds:.0f} s, recovered after {measured.recovery_s():.1f} s")
    for what, number in sorted(measured.bad().items()):
        print(f"  {number} x {what}")
    for what in [*disagreements, *leaks]:
        print(f"  {what}")
    return measured


def assert_kept(measured: Measured) -> None:
    """What holds whatever fails: nothing is lost or leaks, nothing outlives its time limit, and the counts agree."""
    assert not measured.by_verdict(Verdict.LOST), measured.bad()
    assert_books_and_leaks(measured)


def assert_unharmed(measured: Measured) -> None:
    """Every request was answered well, too."""
    assert not measured.bad(), measured.bad()
    assert_books_and_leaks(measured)


def assert_books_and_leaks(measured: Measured) -> None:
    assert not measured.leaks, "\n".join(measured.leaks)
    assert not measured.disagreements, "\n".join(measured.disagreements)
    assert measured.recovery_s() < inf, "a kind of request was not answered well again"
    assert_in_time(measured.ended)


def assert_in_time(ended: Iterable[Ended]) -> None:
    """No answer that comes whole took longer than any limit lets it; a stream has none but for its silences."""
    assert max(one.ended - one.sent for one in ended if one.kind in WHOLE) < SILENT_SECONDS


def _row(name: str, profile: str, seconds: float, measured: Measured) -> table.Row:
    number = Counter(one.verdict for one in measured.ended)
    good = [one.ended - one.sent for one in measured.ended if one.verdict is Verdict.OK]
    return table.Row(
        fault=name,
        profile=profile,
        seconds=round(seconds),
        requests=len(measured.ended),
        lost=number[Verdict.LOST],
        refused=number[Verdict.REFUSED],
        failed=number[Verdict.FAILED],
        cut=number[Verdict.CUT],
        recovery_s=round(measured.recovery_s(), 1),
        slowest_ok_s=round(max(good), 1),
    )


async def until_quiet(system: System, before: Vitals | None) -> list[str]:
    """Wait until nothing is held any more; what still is after a while."""
    deadline = time.monotonic() + QUIET_SECONDS
    while True:
        leaks = list(_leaks(before, await system.vitals()))
        if not leaks or time.monotonic() > deadline:
            return leaks
        await asyncio.sleep(1)


def _leaks(before: Vitals | None, now: Vitals) -> Iterator[str]:
    yield from (f"{number} {name}" for name, number in now.held.items() if number)
    yield from (f"nobody's process: {one}" for one in now.orphans)
    if before is None:
        return
    for name, most in (("tasks", MORE_TASKS), ("descriptors", MORE_DESCRIPTORS), ("megabytes", MORE_MEGABYTES)):
        had, has = getattr(before, name), getattr(now, name)
        if has > had + most:
            yield f"{has} {name} in a gateway replica, before it were {had}"
    # Fewer may be right: a node without a replica has no HAProxy.
    if any(number > before.processes.get(name, 0) for name, number in now.processes.items()):
        yield f"the processes are {now.processes}, before they were {before.processes}"


async def settled_counters(system: System) -> Counter[tuple[str, int, str]]:
    """The counters once they agree with the lines so far, or what they are after a while."""
    await asyncio.sleep(LOG_SECONDS)
    lines, counters = in_lines(system.lines().values()), await system.counters()
    deadline = time.monotonic() + SETTLE_SECONDS
    while lines != counters and lines.total() > counters.total() and time.monotonic() < deadline:
        await asyncio.sleep(2)
        counters = await system.counters()
    return counters


async def until_counted(system: System, expected: Counter[tuple[str, int, str]]) -> list[str]:
    """Wait until the gateway's page has counted what is expected; where it does not after a while."""
    deadline = time.monotonic() + COUNT_SECONDS
    while True:
        wrong = unlike_counters(expected, await system.counters())
        if not wrong or time.monotonic() > deadline:
            return wrong
        await asyncio.sleep(2)
