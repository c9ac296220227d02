"""The rate-limit headers: three of the contract's, and the six that OpenAI's clients know."""

import math

from app.budgets.account import BudgetStatus

SECOND = 10**9


def rate_limit_headers(budget_status: BudgetStatus, now: float) -> list[tuple[str, str]]:
    """Limits a minute, what of them is there, and when all of it will be. `now` is Unix time in seconds."""
    limits = budget_status.limits
    headers = [
        ("x-ratelimit-limit", str(limits.requests)),
        ("x-ratelimit-remaining", str(budget_status.requests)),
        ("x-ratelimit-reset", str(math.ceil(now + budget_status.requests_full_in / SECOND))),
        ("x-ratelimit-limit-requests", str(limits.requests)),
        ("x-ratelimit-remaining-requests", str(budget_status.requests)),
        ("x-ratelimit-reset-requests", _duration(budget_status.requests_full_in)),
    ]
    if limits.tokens is not None:
        headers += [
            ("x-ratelimit-limit-tokens", str(limits.tokens)),
            ("x-ratelimit-remaining-tokens", str(budget_status.tokens)),
            ("x-ratelimit-reset-tokens", _duration(budget_status.tokens_full_in)),
        ]
    return headers


def _duration(nanoseconds: int) -> str:
    """As OpenAI writes it: 12ms, 1.5s, 6m0s."""
    milliseconds = -(-nanoseconds // 10**6)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s" if minutes else f"{rest / 1000:g}s"
