"""The figures: benchmarks/gateway.csv, and what the README shows of it, a table and benchmarks/gateway.png."""

import csv
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from benchmarks.gateway.measuring import Measured
from benchmarks.gateway.systems import BARE_ECHO, SYSTEMS
from contract.project import PROJECT_FOLDER

CSV = PROJECT_FOLDER / "benchmarks" / "gateway.csv"
PLOT = CSV.with_suffix(".png")
README = PROJECT_FOLDER / "README.md"
# What stands between these comes from the CSV.
BEGIN, END = "<!-- from benchmarks/gateway.csv -->\n", "<!-- end -->\n"
NONE = "-"

Row = dict[str, str]
Rows = dict[tuple[str, str], Row]  # by system and scenario


def read() -> Rows:
    if not CSV.exists():
        return {}
    with CSV.open(newline="") as file:
        return {(row["system"], row["scenario"]): row for row in csv.DictReader(file)}


def write(measured: Iterable[Measured]) -> None:
    """Put rows in the place of those of the same system and scenario, and the README's table and plot after them."""
    rows = read() | {(row.system, row.scenario): _as_text(row) for row in measured}
    order = {name: at for at, name in enumerate(SYSTEMS)}
    kept = sorted((row for row in rows.values() if row["system"] in order), key=lambda row: order[row["system"]])
    with CSV.open("w", newline="") as file:
        table = csv.DictWriter(file, Measured._fields, lineterminator="\n")
        table.writeheader()
        table.writerows(kept)
    plot(read())
    write_readme()


def shown(row: Measured) -> str:
    """The row on one line, with what is not empty."""
    return ", ".join(f"{name} {text}" for name, text in _as_text(row).items() if text not in ("", "0"))


def _as_text(row: Measured) -> Row:
    return {name: _number(value) for name, value in row._asdict().items()}


def _number(value: Any) -> str:
    """Three digits that count; more where they stand before the point."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


class Column(NamedTuple):
    """One of the README's table: what is taken of which scenario."""

    head: str
    scenario: str
    field: str
    shown: Callable[[float], str]
    added: bool = False  # to what the bare echo has

    def of(self, rows: Rows, system: str) -> str:
        value = self._value(rows, system)
        base = self._value(rows, BARE_ECHO) if self.added else 0.0
        if value is None or base is None or (self.added and system == BARE_ECHO):
            return NONE
        return self.shown(value - base)

    def _value(self, rows: Rows, system: str) -> float | None:
        text = rows.get((system, self.scenario), {}).get(self.field)
        return float(text) if text else None


def _cpu(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


COLUMNS = (
    Column("CPU ms a request", "1kb-16", "cpu_ms", _cpu),
    Column("CPU ms a chunk", "200-chunks-8", "cpu_ms", _cpu),
    Column("added ms, 1 client", "1kb-1", "answer_p50_ms", "{:.1f}".format, added=True),
    Column("to the first token, 1 stream", "50-chunks-1", "first_p50_ms", "{:.1f}".format, added=True),
    Column("8 streams", "50-chunks-8", "first_p50_ms", "{:.1f}".format, added=True),
    Column("requests a second", "1kb-64", "requests_per_s", "{:,.0f}".format),
    Column("MB", "idle", "memory_mb", "{:.0f}".format),
)


def table(rows: Rows) -> str:
    """The README's, in Markdown."""
    lines = [["", *(column.head for column in COLUMNS)], ["---", *("---:" for _ in COLUMNS)]]
    lines += [
        [SYSTEMS[name].title, *(column.of(rows, name) for column in COLUMNS)]
        for name in SYSTEMS
        if (name, "1kb-16") in rows
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_readme() -> None:
    before, _, after = parts(README.read_text())
    README.write_text(before + BEGIN + table(read()) + END + after)


def parts(text: str) -> tuple[str, str, str]:
    """What stands before the table, the table, and what stands after it. Raises ValueError where it has no place."""
    found = re.fullmatch(f"(.*){BEGIN}(.*){END}(.*)", text, re.DOTALL)
    if found is None:
        raise ValueError(f"README.md has no lines {BEGIN!r} and {END!r}")
    return found[1], found[2], found[3]


def plot(rows: Rows) -> None:
    """CPU time, and the time that is added to the first token, of each system."""
    import matplotlib as mpl  # noqa: PLC0415 - only here, and a package of the developers'

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, panels = pyplot.subplots(1, 3, figsize=(12, 3.4), sharey=True)
    titles = ("CPU ms a request of 1 KB", "CPU ms a streamed chunk", "ms added to the first token, 8 streams")
    for panel, title, column in zip(panels, titles, (COLUMNS[0], COLUMNS[1], COLUMNS[4]), strict=True):
        shown = {name: column.of(rows, name) for name in reversed(SYSTEMS)}
        names = [name for name, value in shown.items() if value != NONE]
        values = [float(shown[name]) for name in names]
        colours = ["tab:blue" if SYSTEMS[name].is_ours else "0.7" for name in names]
        bars = panel.barh([SYSTEMS[name].title.strip("*") for name in names], values, color=colours)
        panel.bar_label(bars, [shown[name] for name in names], padding=3, fontsize=8)
        panel.set(title=title, xscale="log" if values else "linear")
        panel.title.set_fontsize(9)
        panel.margins(x=0.25)
    figure.tight_layout()
    figure.savefig(PLOT, dpi=110)
