"""What an account has used in a calendar month of UTC: tokens and money, which only grow."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias


class Use(NamedTuple):
    """Tokens of prompts and answers together, and what they cost in millionths of the currency."""

    tokens: int = 0
    cost: int = 0

    def plus(self, other: "Use") -> "Use":
        return Use(self.tokens + other.tokens, self.cost + other.cost)

    def beyond(self, other: "Use") -> "Use":
        """What it is more than `other`; never below zero."""
        return Use(max(0, self.tokens - other.tokens), max(0, self.cost - other.cost))

    def at_least(self, other: "Use") -> "Use":
        return Use(max(self.tokens, other.tokens), max(self.cost, other.cost))


Month: TypeAlias = str  # such as 2026-11
Months: TypeAlias = Mapping[Month, Use]

KEPT_MONTHS = 3  # the newest; a request that began in one may end in the next


def month_of(now: float) -> Month:
    """The month in which the Unix time `now` lies."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m}"


def end_of_month(now: float) -> datetime:
    """The moment at which the next month begins."""
    moment = datetime.fromtimestamp(now, UTC)
    year, month = divmod(moment.year * 12 + moment.month, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)


def drop_old(months: dict[Month, Use]) -> None:
    for month in sorted(months)[:-KEPT_MONTHS]:
        del months[month]
