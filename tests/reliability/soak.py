"""The figures of a long load: benchmarks/soak.csv, a row a minute, and the table of docs/reliability.md."""

import csv
from collections.abc import Iterable
from statistics import linear_regression, quantiles
from typing import NamedTuple

from contract.project import PROJECT_FOLDER
from tests.reliability.outcomes import Ended, Verdict

CSV = PROJECT_FOLDER / "benchmarks" / "soak.csv"
PAGE = PROJECT_FOLDER / "docs" / "reliability.md"
BEGIN, END = "<!-- soak -->\n", "<!-- end of soak -->\n"
MINUTE = 60.0


class Minute(NamedTuple):
    """One of the load."""

    minute: int
    requests: int  # that were sent in it
    bad: int  # of these: whatever was not answered well
    faulty_clients: int
    p50_ms: int
    p99_ms: int
    memory_mb: int  # of the gateway replica that has most, at its end
    descriptors: int  # as well


def minute_of(number: int, ended: Iterable[Ended], faulty: int, memory_mb: int, descriptors: int) -> Minute:
    """`ended` are the requests that were sent in it; two or more."""
    sent = list(ended)
    cuts = quantiles([one.ended - one.sent for one in sent], n=100, method="inclusive")
    bad = sum(one.verdict is not Verdict.OK for one in sent)
    return Minute(
        number, len(sent), bad, faulty, round(1000 * cuts[49]), round(1000 * cuts[98]), memory_mb, descriptors
    )


def growth_mb_per_hour(minutes: list[Minute]) -> float:
    """The slope of the memory over the later two thirds: in the first, caches fill."""
    later = minutes[len(minutes) // 3 :]
    return linear_regression([one.minute for one in later], [one.memory_mb for one in later]).slope * 60


def write(minutes: list[Minute]) -> None:
    """Write the CSV, and the page's table from it."""
    with CSV.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(Minute._fields)
        lines.writerows(minutes)
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + begin + table(read()) + END + rest.partition(END)[2])


def read() -> list[Minute]:
    with CSV.open(newline="") as file:
        return [Minute(*(int(one[name]) for name in Minute._fields)) for one in csv.DictReader(file)]


def table(minutes: list[Minute]) -> str:
    """Every fifth minute, and the last."""
    head = (
        "| Minute | Requests | Not answered well | Faulty clients | p50, ms | p99, ms | Memory, MB | Descriptors |\n"
        "|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    shown = [one for one in minutes if one.minute % 5 == 0 or one is minutes[-1]]
    rows = "".join(f"| {' | '.join(map(str, one))} |\n" for one in shown)
    return f"{head}{rows}\nThe memory grew by {growth_mb_per_hour(minutes):.0f} MB an hour after the first third.\n"
