"""How keys are shown to the operator: a table, a card, JSON. Never a hash; never the secret of a key that is kept."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from app.keys.entry import KeyEntry, State
from app.keys.moments import show_moment, show_span

COLUMNS = (
    "id",
    "name",
    "team",
    "scope",
    "requests/min",
    "tokens/min",
    "concurrent",
    "weight",
    "created (UTC)",
    "expires (UTC)",
    "state",
)


def table(entries: Iterable[KeyEntry], now: datetime) -> str:
    """One line a key, under a line of headings."""
    rows = [COLUMNS, *(_row(entry, now) for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def card(entry: KeyEntry, now: datetime) -> str:
    """One fact a line."""
    facts = dict(zip(COLUMNS, _row(entry, now), strict=True))
    facts |= {"rotated from": entry.rotated_from or "-", "revoked (UTC)": _moment(entry.revoked)}
    width = max(map(len, facts))
    return "\n".join(f"{name.ljust(width)}  {fact}" for name, fact in facts.items())


def public(entry: KeyEntry, now: datetime) -> dict[str, Any]:
    """The entry for machines: plain data without the hash, and the state at `now`."""
    return entry.model_dump(mode="json", exclude={"sha256"}) | {"state": entry.state_at(now)}


def _row(entry: KeyEntry, now: datetime) -> tuple[str, ...]:
    budget = entry.budget
    return (
        entry.id,
        entry.name or "-",
        entry.team or "-",
        _scope(entry),
        str(budget.requests_per_minute),
        str(budget.tokens_per_minute or "-"),
        str(budget.concurrent_requests or "-"),
        str(entry.weight),
        _moment(entry.created),
        _moment(entry.expires),
        _state(entry, now),
    )


def _scope(entry: KeyEntry) -> str:
    models = "every model" if entry.pipelines is None else ", ".join(entry.pipelines) or "none"
    return " + ".join([models, *entry.scopes])


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else show_moment(moment)


def _state(entry: KeyEntry, now: datetime) -> str:
    state = entry.state_at(now)
    if state is State.ACTIVE and entry.expires is not None:
        return f"expires in {show_span(entry.expires - now)}"
    return state
