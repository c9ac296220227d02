"""What was measured: a table, a chart, and which candidate won."""

import math

import yaml
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.commands.tune.candidates import Candidate
from app.commands.tune.engine import Level, Measured
from contract.speculation import to_wire

Results = dict[str, tuple[Candidate, Measured]]  # by the candidate's name; `off` is the first

GAIN_TO_WIN = 1.05  # what wins must be faster than `off` by so much: a smaller difference is noise
BAR_WIDTH = 30
RULE = (
    f"The winner has the highest geometric mean of tokens per second over all concurrencies, "
    f"and must beat `off` by {GAIN_TO_WIN - 1:.0%}."
)

LEGEND = "Accepted: of the drafted tokens. Length: tokens per step with a draft, one of them the model's own."


def score(measured: Measured) -> float:
    """The geometric mean of tokens per second over the concurrencies, so that each counts alike."""
    return math.exp(
        sum(math.log(max(level.tokens_per_second, 1e-9)) for level in measured.levels) / len(measured.levels)
    )


def winner(results: Results) -> Candidate:
    """By the rule; `off` where nothing beats it."""
    off = score(results["off"][1])
    best, measured = max(results.values(), key=lambda one: score(one[1]))
    return best if score(measured) >= GAIN_TO_WIN * off else results["off"][0]


def block(candidate: Candidate) -> str:
    """The candidate as a block of a model entry."""
    wire = to_wire(candidate.speculation)
    style = False if isinstance(wire, str) else None  # a short mapping on one line
    return str(yaml.safe_dump({"speculation": wire}, sort_keys=False, default_flow_style=style))


def table(results: Results) -> Table:
    """One row per candidate and concurrency."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    made.add_column("candidate", overflow="fold")
    for name in ("at once", "tokens/s", "vs off", "ms/token", "accepted", "length"):
        made.add_column(name, justify="right", no_wrap=True)
    off = results["off"][1]
    for name, (_, measured) in results.items():
        for level, plain in zip(measured.levels, off.levels, strict=True):
            made.add_row(name if level is measured.levels[0] else "", *_cells(level, plain))
        made.add_section()
    return made


def chart(results: Results) -> RenderableType:
    """Bars of tokens per second, by concurrency."""
    lines: list[Text] = []
    width = max(map(len, results))
    for index, plain in enumerate(results["off"][1].levels):
        rates = {name: measured.levels[index].tokens_per_second for name, (_, measured) in results.items()}
        most = max(*rates.values(), 1e-9)
        lines.append(Text(f"{plain.concurrency} at once", style="bold"))
        for name, rate in rates.items():
            bar = "█" * max(1, round(BAR_WIDTH * rate / most))
            style = "green" if rate >= GAIN_TO_WIN * plain.tokens_per_second else "cyan"
            lines.append(Text.assemble(f"  {name:<{width}} ", (bar, style), f" {rate:.0f} tokens/s"))
    return Group(*lines)


def _cells(level: Level, plain: Level) -> list[str]:
    rate, length = level.acceptance.rate, level.acceptance.mean_length
    return [
        str(level.concurrency),
        f"{level.tokens_per_second:.1f}",
        f"{level.tokens_per_second / plain.tokens_per_second:.2f}x" if plain.tokens_per_second else "-",
        f"{1000 * level.seconds_per_token:.2f}",
        "-" if rate is None else f"{rate:.0%}",
        "-" if length is None else f"{length:.2f}",
    ]
