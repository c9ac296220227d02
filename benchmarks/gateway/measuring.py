"""One system under one scenario: counts, times, CPU time, memory."""

import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import orjson
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.gateway.answers import WORD
from benchmarks.gateway.load import Plan, Result
from benchmarks.gateway.processes import KINDS, Usage
from benchmarks.gateway.scenarios import WARM_UP_SECONDS, Scenario
from benchmarks.gateway.systems import HOST, MODEL, System
from contract.project import PROJECT_FOLDER

IDLE_SECONDS = 6.0
SETTLE_SECONDS = 2.0
COUNT_SECONDS = 60.0  # in which Ray's metrics reach the page
LOAD_COMMAND = [sys.executable, "-m", "benchmarks.gateway.load"]


class Measured(NamedTuple):
    """One row. Times in milliseconds; CPU time of a request or of a chunk, idle subtracted."""

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
        time.sleep(SETTLE_SECONDS)
        before = system.processes.usage()
        time.sleep(IDLE_SECONDS)
        self.idle = system.processes.usage().since(before)
        self.idle_memory_mb = system.processes.memory_mb()

    def measured(self, scenario: Scenario) -> Measured:
        """Raises RuntimeError where the load cannot be sent."""
        result, usage = self._loaded(scenario)
        self._good += result.good
        self._failed += result.failed
        units = max(1, result.chunks if scenario.chunks else result.requests)
        cpu = {kind: 1000 * (usage.cpu[kind] - self.idle.cpu[kind] * usage.at / self.idle.at) / units for kind in KINDS}
        return Measured(
            self.name,
            scenario.name,
            result.requests,
            result.failed,
            result.requests / result.seconds,
            result.chunks / result.seconds if scenario.chunks else 0.0,
            percentile(result.answer_s, 50),
            percentile(result.answer_s, 99),
            percentile(result.first_s, 50),
            percentile(result.first_s, 99),
            sum(cpu.values()),
            *(cpu[kind] for kind in KINDS),
            self._system.processes.memory_mb(),
        )

    def _loaded(self, scenario: Scenario) -> tuple[Result, Usage]:
        """What the load counted, and what the system used meanwhile."""
        plan = Plan(
            HOST,
            self._system.port,
            self._system.headers(),
            scenario.body(MODEL).decode(),
            WORD.strip(),
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
            assert load.stdin is not None
            load.stdin.write(orjson.dumps(plan._asdict()))
            load.stdin.close()
            lines = _lines(load)
            _expect(lines, b"begin")
            before = self._system.processes.usage()
            _expect(lines, b"end")
            usage = self._system.processes.usage().since(before)
            return Result(**orjson.loads(next(lines))), usage

    def check_counts(self) -> None:
        """Raises AssertionError where this gateway has counted other requests than the load has."""
        sent = Counter(ok=self._good, failed=self._failed)
        deadline = time.monotonic() + COUNT_SECONDS
        while (counted := requests_counted(self._system)) != sent:
            assert time.monotonic() < deadline, f"{self.name}: sent and counted by the load {sent}, by it {counted}"
            time.sleep(1)


def _lines(load: subprocess.Popen[bytes]) -> Iterator[bytes]:
    assert load.stdout is not None
    yield from load.stdout
    raise RuntimeError("the load ended too early")


def _expect(lines: Iterator[bytes], word: bytes) -> None:
    line = next(lines).strip()
    assert line == word, line


def requests_counted(system: System) -> Counter[str]:
    """Chat requests on the gateway's own page of metrics: how many went well, and all others."""
    counts: Counter[str] = Counter(ok=0, failed=0)
    for family in text_string_to_metric_families(system.get("/metrics").decode()):
        for sample in family.samples:
            if "portico_requests" in sample.name and sample.labels.get("model") == MODEL:
                counts["ok" if sample.labels["reason"] == "ok" else "failed"] += int(sample.value)
    return counts


def percentile(seconds: list[float], percent: int) -> float | None:
    """In milliseconds; None of fewer than two."""
    if len(seconds) < 2:
        return None
    return 1000 * statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]
