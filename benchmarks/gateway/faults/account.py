"""The token account of the load's key, as the rate-limit headers show it.

A bucket refills as time passes, so no single reading says what was charged. But what is missing from the bucket, plus
what it has gained since the clock began, changes by charges only: the *charged* tokens, as long as it is never full.
"""

from collections.abc import Sequence
from typing import NamedTuple

from app.budgets.bucket import burst_of

TOKENS_PER_MINUTE = 600_000
PER_SECOND = TOKENS_PER_MINUTE // 60
BURST = burst_of(TOKENS_PER_MINUTE)  # what is gained in 6 seconds


class Span(NamedTuple):
    """Bounds of a number of tokens, both included."""

    least: float
    most: float

    def plus(self, other: "Span") -> "Span":
        return Span(self.least + other.least, self.most + other.most)

    def since(self, before: "Span") -> "Span":
        return Span(self.least - before.most, self.most - before.least)

    def meets(self, other: "Span") -> bool:
        return self.least <= other.most and other.least <= self.most

    def __str__(self) -> str:
        return f"{self.least:.0f} to {self.most:.0f}"


NOTHING = Span(0, 0)


class Reading(NamedTuple):
    """`x-ratelimit-remaining-tokens`, which was so at a moment between two of the reader's clock, in seconds."""

    sent: float
    received: float
    remaining: int

    @property
    def missing(self) -> int:
        return BURST - self.remaining

    def charged(self) -> Span:
        """Raises ValueError where it does not show: a full bucket gains nothing, and debts are shown as zero."""
        if not 0 < self.remaining < BURST:
            raise ValueError(f"{self.remaining} of {BURST} tokens remain, which does not show what was charged")
        # Whole tokens are shown, rounded down.
        return Span(self.missing - 1 + PER_SECOND * self.sent, self.missing + PER_SECOND * self.received)


def charged(readings: Sequence[Reading]) -> Span:
    """What all of them allow; nothing was charged between them. Raises ValueError."""
    spans = [one.charged() for one in readings]
    return Span(max(one.least for one in spans), min(one.most for one in spans))
