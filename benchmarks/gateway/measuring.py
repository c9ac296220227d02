"""One system under one scenario: counts, times, CPU time, memory."""

import statistics
import subprocess
import sys
import time
from collections import Counter
from typing import IO, NamedTuple

import orjson

from benchmarks.gateway.answers import MARK
from benchmarks.gateway.load import BEGIN, END, Plan, Result
from benchmarks.gateway.page import counted
from benchmarks.gateway.processes import KINDS, Usage
from benchmarks.gateway.scenarios import WARM_UP_SECONDS, Scenario
from benchmarks.gateway.systems import HOST, MODEL, System
from contract.project import PROJECT_FOLDER

SETTLE_SECONDS, MOST_SETTLING = 3.0, 12  # spans of time; a system that was just started is busy with itself
SETTLED = 0.9  # of the span before
IDLE_SECONDS = 6.0
COUNT_SECONDS = 60.0  # in which Ray's metrics reach the page
LOAD_COMMAND = [sys.executable, "-m", "benchmarks.gateway.load"]


class Measured(NamedTuple):
    """One row. CPU time is that of a request, or of a chunk where there are any, what idling takes subtracted.

    Of the scenario `idle`: of a second, nothing subtracted.
    """

    system: str
    scenario: str
    requests: int
    failed: int
    requests_per_s: float
    chunks_per_s: float
    answer_p50_ms: float | None
    answer_p99_ms: float | None
    first_p50_ms: float | None
    first_p99_ms: float | None
    cpu_ms: float
    gateway_cpu_ms: float
    replica_cpu_ms: float
    proxy_cpu_ms: float
    other_cpu_ms: float
    memory_mb: float  # of the gateway's processes, afterwards


class Running:
    """A system that was just started, and how much of a core it takes with nothing to do."""

    def __init__(self, name: str, system: System) -> None:
        self.name = name
        self._system = system
        self._good = self._failed = 0
        self._settle()
        self._idle = self._used_in(IDLE_SECONDS)

    def _settle(self) -> None:
        """Wait until a span of time takes as much as the one before it."""
        last = self._used_in(SETTLE_SECONDS).total()
        for _ in range(MOST_SETTLING):
            now = self._used_in(SETTLE_SECONDS).total()
            if now >= SETTLED * last:
                return
            last = now

    def _used_in(self, seconds: float) -> Usage:
        before = self._system.processes.usage()
        time.sleep(seconds)
        return self._system.processes.usage().since(before)

    def idle(self) -> Measured:
        """With nothing to do."""
        return self._row("idle", Result(self._idle.at, 0, 0, [], [], 0, 0), self._idle, self._idle.at)

    def under(self, scenario: Scenario) -> Measured:
        """Under a load. Raises RuntimeError where it cannot be sent."""
        result, usage = self._loaded(scenario)
        self._good += result.good
        self._failed += result.failed
        units = result.chunks if scenario.chunks else result.requests
        return self._row(scenario.name, result, usage.less(self._idle), units)

    def _row(self, scenario: str, result: Result, usage: Usage, units: float) -> Measured:
        cpu = {kind: 1000 * usage.cpu[kind] / max(1, units) for kind in KINDS}
        return Measured(
            self.name,
            scenario,
            result.requests,
            result.failed,
            result.requests / result.seconds,
            result.chunks / result.seconds,
            percentile(result.answer_s, 50),
            percentile(result.answer_s, 99),
            percentile(result.first_s, 50),
            percentile(result.first_s, 99),
            sum(cpu.values()),
            cpu["gateway"],
            cpu["replica"],
            cpu["proxy"],
            cpu["other"],
            self._system.processes.memory_mb(),
        )

    def _loaded(self, scenario: Scenario) -> tuple[Result, Usage]:
        """What the load counted, and what the system used meanwhile."""
        plan = Plan(
            HOST,
            self._system.port,
            self._system.headers(),
            scenario.body(MODEL).decode(),
            MARK,
            scenario.chunks,
            scenario.clients,
            scenario.per_second,
            WARM_UP_SECONDS,
            scenario.seconds,
            scenario.stream_seconds,
        )
        with subprocess.Popen(  # noqa: S603 - our own command
            LOAD_COMMAND, cwd=PROJECT_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as load:
            plans, reports = load.stdin, load.stdout
            if plans is None or reports is None:
                raise RuntimeError("it has no pipes")
            plans.write(orjson.dumps(plan._asdict()))
            plans.close()
            _expect(reports, BEGIN)
            before = self._system.processes.usage()
            _expect(reports, END)
            usage = self._system.processes.usage().since(before)
            return Result(**orjson.loads(reports.read())), usage

    def check_counts(self) -> None:
        """Raises RuntimeError where this gateway has counted other requests than the load has."""
        sent = Counter(ok=self._good, failed=self._failed)
        deadline = time.monotonic() + COUNT_SECONDS
        while (found := requests_counted(self._system)) != sent:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: the load has counted {dict(sent)}, the gateway {dict(found)}")
            time.sleep(1)


def _expect(reports: IO[bytes], line: str) -> None:
    if (word := reports.readline().decode().strip()) != line:
        raise RuntimeError(f"the load ended before {line}: {word}")


def requests_counted(system: System) -> Counter[str]:
    """Chat requests on the gateway's own page of metrics: how many went well, and all others."""
    counts: Counter[str] = Counter(ok=0, failed=0)
    for (_, reason), number in counted(system.get("/metrics").decode(), MODEL).requests.items():
        counts["ok" if reason == "ok" else "failed"] += number
    return counts


def percentile(seconds: list[float], percent: int) -> float | None:
    """In milliseconds; None of fewer than two."""
    if len(seconds) < 2:
        return None
    return 1000 * statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]
