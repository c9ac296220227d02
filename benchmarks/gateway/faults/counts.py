"""What clients, gateway, engine and account say of the same requests, and where they disagree."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks.gateway.faults.account import NOTHING, Span
from benchmarks.gateway.faults.clients import Ended
from benchmarks.gateway.faults.engine import PROMPT_TOKENS, Cancelled
from benchmarks.gateway.faults.kinds import (
    ANSWER,
    BROKEN_STREAM,
    CHUNKS,
    KINDS,
    LEFT_BEFORE,
    LEFT_STREAM,
    STREAM,
)
from benchmarks.gateway.page import PageCounts

CANCELLED_SECONDS = 1.0  # from a client's close to the end of the work in the engine


class Row(NamedTuple):
    """One kind of request, or one outcome on the gateway's page that is no kind's."""

    kind: str
    requests: int  # that were sent
    client: int  # that ended for the client as they were meant to
    gateway: int  # that the gateway counted so
    slowest_cancellation_ms: float | None = None  # None: nothing is to be cancelled, or nothing was

    def agrees(self) -> bool:
        return self.requests == self.client == self.gateway


def by_kind(page: PageCounts) -> Counter[str]:
    """What the gateway has counted, by the names of kinds; an outcome that is no kind's has a name of its own."""
    rest = Counter(page.requests)
    # Both have the same outcome; only a stream has times between its tokens.
    found = Counter({STREAM.name: page.whole_streams, ANSWER.name: rest.pop(ANSWER.outcome, 0) - page.whole_streams})
    for kind in KINDS:
        if kind not in (ANSWER, STREAM):
            found[kind.name] = rest.pop(kind.outcome, 0)
    return found + Counter({f"{status} {reason}": number for (status, reason), number in rest.items()})


def rows(ended: Sequence[Ended], page: PageCounts, cancelled: Mapping[str, Cancelled]) -> list[Row]:
    sent = Counter(one.request.kind.name for one in ended)
    as_meant = Counter(one.request.kind.name for one in ended if one.is_as_meant)
    counted = by_kind(page)
    names = dict.fromkeys([*(kind.name for kind in KINDS), *counted])
    return [Row(name, sent[name], as_meant[name], counted[name], slowest_ms(name, ended, cancelled)) for name in names]


def slowest_ms(kind: str, ended: Sequence[Ended], cancelled: Mapping[str, Cancelled]) -> float | None:
    """From a client's close to the end in the engine."""
    times = [
        cancelled[one.request.id].at - one.left_at
        for one in ended
        if one.request.kind.name == kind and one.left_at is not None and one.request.id in cancelled
    ]
    return 1000 * max(times) if times else None


def usage_of(one: Ended) -> int:
    """Tokens that the engine has reported for it."""
    return PROMPT_TOKENS + one.request.tokens if one.request.kind in (ANSWER, STREAM) else 0


def charge_of(one: Ended, prompt: int, cancelled: Mapping[str, Cancelled]) -> Span:
    """What its key is to be charged, where the gateway takes its prompt for `prompt` tokens."""
    kind = one.request.kind
    if kind is BROKEN_STREAM:
        return Span(prompt + one.chunks, prompt + one.chunks)
    if kind is LEFT_STREAM:  # what the gateway had of it is between what its client saw and what the engine made
        made = max(one.chunks, cancelled[one.request.id].events if one.request.id in cancelled else 0)
        return Span(prompt + one.chunks, prompt + made)
    if kind is LEFT_BEFORE:  # what the engine did is not known, so all that was reserved
        return Span(prompt + CHUNKS, prompt + CHUNKS)
    return Span(usage_of(one), usage_of(one))


def charges(ended: Sequence[Ended], prompt: int, cancelled: Mapping[str, Cancelled]) -> Span:
    total = NOTHING
    for one in ended:
        total = total.plus(charge_of(one, prompt, cancelled))
    return total


def wrong_counts(table: Sequence[Row], ended: Sequence[Ended]) -> Iterator[str]:
    for row in table:
        if not row.agrees():
            yield f"{row.kind}: {row.requests} were sent, the clients count {row.client}, the gateway {row.gateway}"
    unmeant = Counter((one.request.kind.name, one.outcome) for one in ended if not one.is_as_meant)
    for (kind, (status, reason)), number in unmeant.items():
        yield f"{kind}: {number} ended with status {status}, {reason}"


def wrong_tokens(ended: Sequence[Ended], page: PageCounts) -> Iterator[str]:
    if (reported := sum(map(usage_of, ended))) != page.tokens:
        yield f"the engine has reported {reported} tokens, the gateway counts {page.tokens}"


def wrong_cancellations(ended: Sequence[Ended], cancelled: Mapping[str, Cancelled]) -> Iterator[str]:
    left = {one.request.id: one for one in ended if one.left_at is not None}
    if missing := left.keys() - cancelled.keys():
        yield f"{len(missing)} answers that clients have left were not cancelled in the engine"
    if others := cancelled.keys() - left.keys():
        yield f"{len(others)} answers were cancelled in the engine that no client has left"
    for kind in (LEFT_STREAM, LEFT_BEFORE):
        slowest = slowest_ms(kind.name, ended, cancelled)
        if slowest is not None and slowest > 1000 * CANCELLED_SECONDS:
            yield f"{kind.name}: an answer went on in the engine for {slowest:.0f} ms after its client had left"


def wrong_charges(charged: Span, owed: Span) -> Iterator[str]:
    """A settlement that is lost changes the charge by tokens of a prompt at least."""
    if not charged.meets(owed):
        yield f"the key was charged {charged} tokens for what costs {owed}"
