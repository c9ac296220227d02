"""One key's account: a bucket of requests, one of tokens, and the requests that are under way."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from app.budgets.bucket import Bucket, burst_of

SLOT_WAIT = 10**9  # nanoseconds; when a request under way will end is not known


class Terms(NamedTuple):
    """A key's budget as plain data."""

    requests: int  # per minute
    tokens: int | None = None  # per minute; None: not counted
    slots: int | None = None  # requests at once; None: not counted


class Refusal(NamedTuple):
    """Why a request is not admitted, and for how long (nanoseconds) it would not be."""

    resource: str  # "requests", "tokens" or "concurrency"
    wait: int


class Standing(NamedTuple):
    """How an account is, as the rate-limit headers tell it. Times are nanoseconds from now."""

    terms: Terms
    requests: int  # that could be admitted now
    requests_full_in: int
    tokens: int = 0
    tokens_full_in: int = 0


@dataclass(slots=True)
class Account:
    """Takes from every resource of a key, or from none."""

    terms: Terms
    requests: Bucket
    tokens: Bucket | None
    slots_taken: int = 0

    @classmethod
    def open(cls, terms: Terms, now: int, *, empty: bool = False) -> "Account":
        """A new account: full, or with nothing in it yet."""
        level = 0 if empty else None
        tokens = None if terms.tokens is None else Bucket(terms.tokens, now, level=level)
        return cls(terms, Bucket(terms.requests, now, level=level), tokens)

    @classmethod
    def share(cls, terms: Terms, parts: int, now: int) -> "Account | None":
        """An empty account of one of `parts` equal parts, which together never exceed the whole; None where the burst
        of the whole cannot be divided so.
        """
        bursts = [burst_of(limit) // parts for limit in (terms.requests, terms.tokens) if limit is not None]
        if not all(bursts):
            return None
        part = Terms(
            terms.requests // parts,
            None if terms.tokens is None else terms.tokens // parts,
            None if terms.slots is None else max(1, terms.slots // parts),
        )
        requests = Bucket(part.requests, now, level=0, burst=bursts[0])
        tokens = None if part.tokens is None else Bucket(part.tokens, now, level=0, burst=bursts[1])
        return cls(part, requests, tokens)

    def change(self, terms: Terms, now: int) -> None:
        """Go on under other terms."""
        if terms == self.terms:
            return
        self.requests.resize(terms.requests, now)
        if terms.tokens is None:
            self.tokens = None
        elif self.tokens is None:
            self.tokens = Bucket(terms.tokens, now, level=0)
        else:
            self.tokens.resize(terms.tokens, now)
        self.terms = terms

    def admit(self, tokens: int, now: int) -> Refusal | None:
        """Take one request, `tokens` tokens and one slot; or say which of them is missing the longest."""
        refusal = max(self._missing(tokens, now), key=lambda one: one.wait, default=None)
        if refusal is not None:
            return refusal
        self.requests.take(1, now)
        if self.tokens is not None:
            self.tokens.take(tokens, now)
        if self.terms.slots is not None:
            self.slots_taken += 1
        return None

    def standing(self, now: int) -> Standing:
        requests = (max(0, self.requests.whole(now)), self.requests.full_in(now))
        if self.tokens is None:
            return Standing(self.terms, *requests)
        return Standing(self.terms, *requests, max(0, self.tokens.whole(now)), self.tokens.full_in(now))

    def _missing(self, tokens: int, now: int) -> Iterator[Refusal]:
        if wait := self.requests.wait(1, now):
            yield Refusal("requests", wait)
        if self.tokens is not None and (wait := self.tokens.wait(tokens, now)):
            yield Refusal("tokens", wait)
        if self.terms.slots is not None and self.slots_taken >= self.terms.slots:
            yield Refusal("concurrency", SLOT_WAIT)
