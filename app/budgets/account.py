"""One key's account: a bucket of requests, one of tokens, and the requests that are under way."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from app.budgets.bucket import MINUTE, Bucket, burst_of

SLOT_WAIT = 10**9  # nanoseconds; when a request under way will end is not known
UNLIMITED = 10**9  # requests per minute, of an account that does not limit them: more than any gateway serves


class BudgetLimits(NamedTuple):
    """A key's budget as plain data."""

    requests: int  # per minute
    tokens: int | None = None  # per minute; None: not counted
    slots: int | None = None  # requests at once; None: not counted


class Debt(NamedTuple):
    """Nanoseconds until an account that is overdrawn is at zero again."""

    requests: int = 0
    tokens: int = 0

    def later(self, passed: int) -> "Debt":
        return Debt(self.requests - passed, self.tokens - passed)

    def owed(self) -> "Debt":
        """Zero where it is paid."""
        return Debt(max(0, self.requests), max(0, self.tokens))


class Refusal(NamedTuple):
    """Why a request is not admitted, and for how long (nanoseconds) it would not be."""

    resource: str  # "requests", "tokens" or "concurrency"
    wait: int


class BudgetStatus(NamedTuple):
    """An account as the rate-limit headers show it. Times are nanoseconds from now."""

    limits: BudgetLimits
    requests: int  # that could be admitted now
    requests_full_in: int
    tokens: int = 0
    tokens_full_in: int = 0

    def debt(self) -> Debt:
        """Below zero where the account holds something."""
        tokens = 0 if self.limits.tokens is None else self.tokens_full_in - _filling_time(self.limits.tokens)
        return Debt(self.requests_full_in - _filling_time(self.limits.requests), tokens)


@dataclass(slots=True)
class Account:
    """Takes from every resource of a key, or from none."""

    limits: BudgetLimits
    requests: Bucket
    tokens: Bucket | None
    slots_taken: int = 0

    @classmethod
    def open(cls, limits: BudgetLimits, now: int, *, empty: bool = False) -> "Account":
        """A new account: full, or with nothing in it yet."""
        level = 0 if empty else None
        tokens = None if limits.tokens is None else Bucket(limits.tokens, now, level=level)
        return cls(limits, Bucket(limits.requests, now, level=level), tokens)

    @classmethod
    def share(cls, limits: BudgetLimits, parts: int, now: int) -> "Account | None":
        """An empty account of one of `parts` equal parts, which together never exceed the whole; None where the burst
        of the whole cannot be divided so.
        """
        bursts = [burst_of(limit) // parts for limit in (limits.requests, limits.tokens) if limit is not None]
        if not all(bursts):
            return None
        part = BudgetLimits(
            limits.requests // parts,
            None if limits.tokens is None else limits.tokens // parts,
            None if limits.slots is None else max(1, limits.slots // parts),
        )
        requests = Bucket(part.requests, now, level=0, burst=bursts[0])
        tokens = None if part.tokens is None else Bucket(part.tokens, now, level=0, burst=bursts[1])
        return cls(part, requests, tokens)

    def change(self, limits: BudgetLimits, now: int) -> None:
        """Go on under other limits."""
        if limits == self.limits:
            return
        self.requests.resize(limits.requests, now)
        if limits.tokens is None:
            self.tokens = None
        elif self.tokens is None:
            self.tokens = Bucket(limits.tokens, now, level=0)
        else:
            self.tokens.resize(limits.tokens, now)
        self.limits = limits

    def admit(self, tokens: int, now: int) -> Refusal | None:
        """Take one request, `tokens` tokens and one slot; or say which of them is missing the longest."""
        refusal = max(self._missing(tokens, now), key=lambda one: one.wait, default=None)
        if refusal is not None:
            return refusal
        self.requests.take(1, now)
        if self.tokens is not None:
            self.tokens.take(tokens, now)
        if self.limits.slots is not None:
            self.slots_taken += 1
        return None

    def give(self, requests: int, tokens: int, now: int) -> None:
        """Put units back; negative amounts are charged, as a debt if need be."""
        self.requests.give(requests, now)
        if self.tokens is not None:
            self.tokens.give(tokens, now)

    def defer(self, debt: Debt) -> None:
        """Charge what it gains in the time of `debt`."""
        self.requests.defer(debt.requests)
        if self.tokens is not None:
            self.tokens.defer(debt.tokens)

    def is_overdrawn(self) -> bool:
        """Whether it was in debt when it was last used."""
        return self.requests.is_overdrawn() or (self.tokens is not None and self.tokens.is_overdrawn())

    def debt(self, now: int) -> Debt:
        return Debt(self.requests.wait(0, now), 0 if self.tokens is None else self.tokens.wait(0, now))

    def budget_status(self, now: int) -> BudgetStatus:
        requests = (max(0, self.requests.whole(now)), self.requests.full_in(now))
        if self.tokens is None:
            return BudgetStatus(self.limits, *requests)
        return BudgetStatus(self.limits, *requests, max(0, self.tokens.whole(now)), self.tokens.full_in(now))

    def _missing(self, tokens: int, now: int) -> Iterator[Refusal]:
        if wait := self.requests.wait(1, now):
            yield Refusal("requests", wait)
        if self.tokens is not None and (wait := self.tokens.wait(tokens, now)):
            yield Refusal("tokens", wait)
        if self.limits.slots is not None and self.slots_taken >= self.limits.slots:
            yield Refusal("concurrency", SLOT_WAIT)


def _filling_time(per_minute: int) -> int:
    """Nanoseconds in which an empty bucket becomes full, rounded down."""
    return burst_of(per_minute) * MINUTE // per_minute
