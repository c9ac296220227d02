"""What the gateway says of the same requests: its lines, one a request, and its counters."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import orjson
from prometheus_client.parser import text_string_to_metric_families

from app.telemetry.record import OK
from tests.reliability.outcomes import Ended, Verdict

LOG_SECONDS = 1.5  # that a line of the log waits in a gateway replica at the most, and a little
NOTICED_SECONDS = 3.0  # after which HAProxy sends nothing to a gateway replica that has died

Counted = Counter[tuple[str, int, str]]  # route, status (0: none was sent), reason


class Line(NamedTuple):
    """A line of the access log."""

    route: str
    status: int
    reason: str


def lines_of(ray_folder: Path) -> dict[str, Line]:
    """Every line of the access log by its request's id, from the files into which Ray leads its workers' output.

    Lines of the models' replicas have the same ids, and know less of how a request ended.
    """
    found: dict[str, Line] = {}
    for file in ray_folder.glob("**/logs/worker-*.out"):
        for text in file.read_bytes().splitlines():
            if text.startswith(b'{"time":') and b'"overhead_ms":' in text:
                one = orjson.loads(text)
                found[one["request_id"]] = Line(one["route"], one["status"] or 0, one["reason"])
    return found


def counted(page: str) -> Counted:
    """What the gateway's page has counted; probes leave no line and are left out."""
    found: Counted = Counter()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = sample.labels
            name = sample.name.removeprefix("ray_").removesuffix("_total")
            if name == "portico_requests" and labels["route"].startswith("/v1/"):
                found[labels["route"], int(labels["status"]), labels["reason"]] += int(sample.value)
    return found


def in_lines(lines: Iterable[Line]) -> Counted:
    return Counter((one.route, one.status, one.reason) for one in lines if one.route.startswith("/v1/"))


def unlike_lines(
    ended: Iterable[Ended], lines: Mapping[str, Line], gateway_died_at: float | None = None
) -> Iterator[str]:
    """Where a client and the gateway's line do not say the same of a request.

    A gateway replica that dies takes the lines of the last second with it, and of what it had under way there is none,
    nor of what HAProxy answers by itself as it has not noticed the death yet.
    """
    for one in ended:
        line, (verdict, status, reason) = lines.get(one.id), one.outcome
        if line is None:
            died = gateway_died_at
            gone = died is not None and one.sent < died < one.ended + LOG_SECONDS
            unnoticed = died is not None and verdict is Verdict.FAILED and died <= one.sent < died + NOTICED_SECONDS
            if verdict is not Verdict.LOST and not gone and not unnoticed:
                yield f"{one.kind} {one.id} ended with {verdict} {status} {reason}, and the gateway has no line of it"
        elif verdict is Verdict.LOST:
            yield f"{one.kind} {one.id} is lost ({reason}), and the gateway's line says {line}"
        elif (line.status, line.reason) != (status, OK if verdict is Verdict.OK else reason):
            yield f"{one.kind} {one.id} ended with {verdict} {status} {reason}, and the gateway's line says {line}"


def unlike_counters(lines: Counted, counters: Counted) -> list[str]:
    """Where the gateway's lines and its counters do not agree."""
    return [
        f"{route} {status} {reason}: {lines[route, status, reason]} lines, counted {counters[route, status, reason]}"
        for route, status, reason in sorted(lines.keys() | counters.keys())
        if lines[route, status, reason] != counters[route, status, reason]
    ]
