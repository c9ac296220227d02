"""The figures: benchmarks/reliability.csv, a row a fault and profile, and the table of docs/reliability.md."""

import csv
from typing import NamedTuple

from contract.project import PROJECT_FOLDER

CSV = PROJECT_FOLDER / "benchmarks" / "reliability.csv"
PAGE = PROJECT_FOLDER / "docs" / "reliability.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
HAPROXY, PYTHON, CLUSTER = "production", "without HAProxy", "three nodes"  # profiles


class Row(NamedTuple):
    """One fault in one profile."""

    fault: str
    profile: str
    seconds: int  # of load
    requests: int
    lost: int
    refused: int
    failed: int
    cut: int
    recovery_s: float
    slowest_ok_s: float


HEAD = (
    "| Fault | Profile | Load, s | Requests | Lost | Refused | Failed | Cut | Worst recovery, s | Slowest good, s |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
)


def read() -> list[Row]:
    if not CSV.exists():
        return []
    with CSV.open(newline="") as file:
        return [
            Row(
                one["fault"],
                one["profile"],
                int(one["seconds"]),
                int(one["requests"]),
                int(one["lost"]),
                int(one["refused"]),
                int(one["failed"]),
                int(one["cut"]),
                float(one["recovery_s"]),
                float(one["slowest_ok_s"]),
            )
            for one in csv.DictReader(file)
        ]


def put(row: Row) -> None:
    """Put it in place of the row of the same fault and profile, and write the page's table."""
    rows = [one for one in read() if (one.fault, one.profile) != (row.fault, row.profile)]
    with CSV.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(Row._fields)
        lines.writerows(sorted([*rows, row]))
    before, _, after = parts(PAGE.read_text())
    PAGE.write_text(f"{before}{table(read())}{after}")


def parts(page: str) -> tuple[str, str, str]:
    """What stands before the table, the table, and what comes after it."""
    before, begin, rest = page.partition(BEGIN)
    shown, end, after = rest.partition(END)
    return before + begin, shown, end + after


def table(rows: list[Row]) -> str:
    return HEAD + "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)
