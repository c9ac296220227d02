"""What the page shows of a key to who has it."""

from typing import Any

from app.budgets.account import BudgetStatus
from app.budgets.bucket import burst_of
from app.keys import KeyEntry
from app.telemetry.loads import KeyUsage

SECOND = 10**9


def key_card(key: KeyEntry, status: BudgetStatus, usage: KeyUsage | None) -> dict[str, Any]:
    """The scope, the limits, what is left of them, and the usage; null where that is not known now."""
    limits = status.limits
    card: dict[str, Any] = {
        "id": key.id,
        "name": key.name,
        "models": key.pipelines,
        "created": key.created,
        "expires": key.expires,
        "weight": key.weight,
        "concurrent_requests": limits.slots,
        "requests": _resource(limits.requests, status.requests, status.requests_full_in),
        "tokens": None if limits.tokens is None else _resource(limits.tokens, status.tokens, status.tokens_full_in),
        "usage": usage,
    }
    return card


def _resource(per_minute: int, left: int, full_in: int) -> dict[str, Any]:
    return {"per_minute": per_minute, "burst": burst_of(per_minute), "left": left, "full_in_s": full_in / SECOND}
