"""The rate-limit headers: three of the contract's, and the six that OpenAI's clients know."""

import math

from app.budgets.account import Standing

SECOND = 10**9


def rate_limit_headers(standing: Standing, now: float) -> list[tuple[str, str]]:
    """Limits a minute, what of them is there, and when all of it will be. `now` is Unix time in seconds."""
    terms = standing.terms
    headers = [
        ("x-ratelimit-limit", str(terms.requests)),
        ("x-ratelimit-remaining", str(standing.requests)),
        ("x-ratelimit-reset", str(math.ceil(now + standing.requests_full_in / SECOND))),
        ("x-ratelimit-limit-requests", str(terms.requests)),
        ("x-ratelimit-remaining-requests", str(standing.requests)),
        ("x-ratelimit-reset-requests", _duration(standing.requests_full_in)),
    ]
    if terms.tokens is not None:
        headers += [
            ("x-ratelimit-limit-tokens", str(terms.tokens)),
            ("x-ratelimit-remaining-tokens", str(standing.tokens)),
            ("x-ratelimit-reset-tokens", _duration(standing.tokens_full_in)),
        ]
    return headers


def _duration(nanoseconds: int) -> str:
    """As OpenAI writes it: 12ms, 1.5s, 6m0s."""
    milliseconds = -(-nanoseconds // 10**6)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s" if minutes else f"{rest / 1000:g}s"
