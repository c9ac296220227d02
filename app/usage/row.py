"""One row of the ledger: what a settled request used, and what it cost."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from app.config.model_entry import ModelEntry
from app.config.prices import Prices
from app.telemetry.record import RequestRecord

FREE = Prices()
MAX_ADJUSTMENTS_LENGTH = 512  # in characters: a client makes the list as long as it likes, up to 4 KiB


class UsageRow(NamedTuple):
    """Plain data, named and ordered as the table's columns after `origin` and `number`."""

    time: float  # Unix time when it ended
    request_id: str  # a UUID, which a client may choose and use twice
    key_id: str
    team_id: str | None
    model: str
    route: str
    status: int | None  # None: the client left before an answer began
    reason: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    images: int
    seconds: float
    characters: int
    is_estimate: bool  # whether the engine did not say how many tokens it were
    cost_millionths: int
    adjustments: str | None


def row_of(record: RequestRecord, time: float, prices: Mapping[str, Prices]) -> UsageRow:
    """The row of a request that was admitted; `prices` has those of models that cost something."""
    used = record.quantities()
    model = record.model_id or ""
    return UsageRow(
        time,
        record.request_id,
        record.key_id or "",
        record.team_id,
        model,
        record.route,
        record.status,
        record.reason,
        *used,
        record.usage is None and used.input_tokens + used.output_tokens > 0,
        prices[model].millionths(used) if model in prices else 0,
        record.adjustments and record.adjustments[:MAX_ADJUSTMENTS_LENGTH],
    )


def prices_of(entries: Iterable[ModelEntry]) -> dict[str, Prices]:
    """Of each model that costs something, and of its adapters."""
    return {
        model_id: entry.prices
        for entry in entries
        if entry.prices != FREE
        for model_id in (entry.id, *(adapter.id for adapter in entry.adapters))
    }
