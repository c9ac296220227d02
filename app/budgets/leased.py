"""Budgets of one ingress replica among several: admissions from slices that the budget store leases, without asking it.

While the store is unreachable, the replica goes on within its slices and then within its share of each limit, and
what it cannot admit at once waits a little: no request fails because the store does.
"""

import asyncio
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Protocol

from app.budgets.account import Account, BudgetLimits, BudgetStatus, Refusal
from app.budgets.admission import refused
from app.budgets.bucket import MINUTE, burst_of
from app.budgets.exact import Clock
from app.budgets.store import LEASE, SECOND, Answer, Ask, Held, Join, Report, slice_is_worth

PATIENCE = 10 * SECOND  # how long a request waits for a budget store that is unreachable or has restarted
POLL = SECOND // 4  # between two questions to a budget store that is unreachable
IDLE = 2 * SECOND  # a slice that was not used for so long is given back
MARGIN = SECOND  # before a slice's end, for clocks that differ


class StoreUnreachableError(Exception):
    """The budget store does not answer: it is dead, restarting, or out of reach."""


class StoreLink(Protocol):
    """A way to the budget store. Every call may raise StoreUnreachableError."""

    async def join(self, join: Join) -> None: ...
    async def answer(self, ask: Ask) -> Answer: ...
    async def report(self, report: Report) -> None: ...


class Lease:
    """What this replica holds of one key's account, and what it was last told of it."""

    __slots__ = (
        "asking",
        "budget_status",
        "expires",
        "filled",
        "limits",
        "refused_until",
        "reported_at",
        "requests",
        "tokens",
        "used",
    )  # fmt: skip

    def __init__(self, limits: BudgetLimits, now: int) -> None:
        self.limits = limits
        self.requests = 0
        self.tokens = 0
        self.filled = 0  # requests it had when it was last filled
        self.expires = now
        self.used = now
        self.asking = False  # a question about this slice is under way
        self.refused_until = now  # no request before, whoever asks; tokens and slots may come back at any time
        self.budget_status: BudgetStatus | None = None
        self.reported_at = now

    def take(self, tokens: int, now: int) -> bool:
        """Admit a request here, if the slice has room for it."""
        if self.requests < 1 or now >= self.expires:
            return False
        if self.limits.tokens is not None:
            if self.tokens < tokens:
                return False
            self.tokens -= tokens
        self.requests -= 1
        self.used = now
        return True

    def runs_out(self, now: int) -> bool:
        """Whether it is time to fill it up, ahead of need."""
        return self.requests * 2 <= self.filled or now + LEASE // 2 >= self.expires

    def held(self, now: int) -> Held:
        return Held(self.requests, self.tokens) if now < self.expires else Held()

    def add(self, answer: Answer, asked_at: int, now: int) -> None:
        """Take over an answer to a question that was about this slice."""
        held = self.held(now)
        self.requests, self.tokens = held.requests + answer.added.requests, held.tokens + answer.added.tokens
        self.filled = self.requests
        self.expires = asked_at + LEASE - MARGIN


class LeasedBudgets:
    """One replica's view of all budgets."""

    def __init__(
        self,
        link: StoreLink,
        replicas: int,
        clock: Clock = time.monotonic_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        patience: int = PATIENCE,
    ) -> None:
        self._link = link
        self._replica = uuid.uuid4().hex
        self._replicas = replicas
        self._clock = clock
        self._sleep = sleep
        self._patience = patience
        self._leases: dict[str, Lease] = {}
        self._under_way: Counter[str] = Counter()  # requests that hold a slot, by key
        self._unused: defaultdict[str, int] = defaultdict(int)  # tokens to settle, by key
        self._ended: Counter[str] = Counter()  # slots to give back, by key
        self._away_since: int | None = None
        self._polled = 0
        self._shares: dict[str, Account | None] = {}  # while the budget store is unreachable
        self._spent: list[tuple[int, str, int]] = []  # from the shares: when, of which key, tokens
        self._joining = asyncio.Lock()
        self._joins = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def admit(self, key: str, limits: BudgetLimits, tokens: int) -> "LeasedAdmission":
        now = self._clock()
        lease = self._leases.get(key)
        if lease is None:
            lease = self._leases[key] = Lease(limits, now)
        lease.limits = limits
        if limits.slots is None and lease.take(tokens, now):
            if not lease.asking and lease.runs_out(now):
                lease.asking = True
                self._start(self._fill_up(key, lease))
            return LeasedAdmission(self, key, limits, tokens)
        if now < lease.refused_until:
            raise refused(limits, Refusal("requests", lease.refused_until - now))
        return await self._admit_elsewhere(key, lease, tokens, now)

    @property
    def store_unreachable(self) -> bool:
        """Whether the last call did not reach the budget store."""
        return self._away_since is not None

    def budget_status(self, key: str, limits: BudgetLimits) -> BudgetStatus:
        now = self._clock()
        lease = self._leases.get(key)
        if lease is None or lease.budget_status is None:
            return Account.open(limits, now).budget_status(now)
        message, passed, held = lease.budget_status, now - lease.reported_at, lease.held(now)
        requests, requests_full_in = _grown(
            message.requests, limits.requests, passed, message.requests_full_in, held.requests
        )
        if limits.tokens is None:
            return BudgetStatus(limits, requests, requests_full_in)
        grown = _grown(message.tokens, limits.tokens, passed, message.tokens_full_in, held.tokens)
        return BudgetStatus(limits, requests, requests_full_in, *grown)

    async def tick(self, idle: int = IDLE) -> None:
        """Once a second: report to the budget store, give back slices unused for `idle` nanoseconds. Raises nothing."""
        now = self._clock()
        if self._away_since is not None:
            await self._rejoin(now)
            return
        returned = {}
        for key, lease in self._leases.items():
            if (lease.requests or lease.tokens) and not lease.asking and now > lease.used + idle:
                returned[key] = lease.held(now)
                lease.requests = lease.tokens = 0
        unused, self._unused = self._unused, defaultdict(int)
        ended, self._ended = self._ended, Counter()
        try:
            await self._link.report(Report(self._replica, dict(unused), dict(ended), returned))
        except StoreUnreachableError:  # what was reported may have arrived; telling it twice would give too much back
            self._went_away(now)

    async def keep(self) -> None:
        """Join now, so that no request waits for the store to start, and tick for as long as this process lives."""
        await self._rejoin(self._clock())
        while True:
            await self._sleep(1)
            await self.tick()

    async def close(self) -> None:
        """Give everything back, at shutdown."""
        await self.tick(idle=-1)

    def settle(self, key: str, limits: BudgetLimits, unused: int) -> None:
        """Called by an admission when its request has ended."""
        if unused:
            self._unused[key] += unused
        if limits.slots is not None:
            self._under_way[key] -= 1
            self._ended[key] += 1
            self._start(self.tick())  # at once: the key's next request may wait for this slot

    async def _admit_elsewhere(self, key: str, lease: Lease, tokens: int, since: int) -> "LeasedAdmission":
        """Ask the store, or take from the local share; wait where only the store's trouble is in the way."""
        while True:
            now = self._clock()
            if self._away_since is None or now >= self._polled + POLL:
                refusal, patient = await self._ask(key, lease, tokens)
            else:
                refusal, patient = self._admit_locally(key, lease.limits, tokens, now), True
            if refusal is None:
                if lease.limits.slots is not None:
                    self._under_way[key] += 1
                return LeasedAdmission(self, key, lease.limits, tokens)
            now = self._clock()
            wait = min(refusal.wait, POLL)
            if not patient or now + wait > since + self._patience:
                if refusal.resource == "requests":
                    lease.refused_until = now + refusal.wait
                raise refused(lease.limits, refusal)
            await self._sleep(wait / SECOND)

    async def _ask(self, key: str, lease: Lease, tokens: int) -> tuple[Refusal | None, bool]:
        """The store's refusal, if any, and whether it is worth waiting. From the local share if unreachable."""
        asked_at = self._polled = self._clock()
        held = None
        if not lease.asking and slice_is_worth(lease.limits, self._replicas):
            lease.asking, held = True, lease.held(asked_at)
        ask = Ask(self._replica, key, lease.limits, True, tokens, held)
        try:
            answer = await self._put(ask)
        except StoreUnreachableError:
            now = self._clock()
            self._went_away(now)
            return self._admit_locally(key, lease.limits, tokens, now), True
        finally:
            if held is not None:
                lease.asking = False
        self._learn(lease, answer, held, asked_at)
        return answer.refusal, answer.lean

    async def _fill_up(self, key: str, lease: Lease) -> None:
        """Ask for more before it is needed; `lease.asking` is set already."""
        asked_at = self._clock()
        held = lease.held(asked_at)
        try:
            answer = await self._put(Ask(self._replica, key, lease.limits, False, 0, held))
        except StoreUnreachableError:
            self._went_away(self._clock())
        else:
            self._learn(lease, answer, held, asked_at)
        finally:
            lease.asking = False

    async def _put(self, ask: Ask) -> Answer:
        """Ask; join first where the budget store does not know this replica."""
        if self._away_since is not None:
            await self._join(self._joins)
        joins = self._joins
        answer = await self._link.answer(ask)
        if not answer.known:
            await self._join(joins)
            answer = await self._link.answer(ask)
            if not answer.known:
                raise StoreUnreachableError
        return answer

    async def _join(self, joins: int) -> None:
        """Tell the budget store what this replica holds and what it has spent without it; once for all who saw `joins`.

        Another time would take back the slots that it has given since, to requests that do not know it yet.
        """
        async with self._joining:
            if self._joins != joins:
                return
            now = self._clock()
            under_way = {key: count for key, count in self._under_way.items() if count}
            self._ended.clear()  # what has ended is not under way
            spent, self._spent = self._spent, []
            message = [(now - at, key, tokens) for at, key, tokens in spent]
            try:
                await self._link.join(Join(self._replica, self._replicas, under_way, message))
            except StoreUnreachableError:
                self._spent[:0] = spent
                raise
            self._joins += 1
            self._shares.clear()
            self._away_since = None

    async def _rejoin(self, now: int) -> None:
        self._polled = now
        try:
            await self._join(self._joins)
        except StoreUnreachableError:
            self._went_away(now)

    def _learn(self, lease: Lease, answer: Answer, held: Held | None, asked_at: int) -> None:
        now = self._clock()
        if held is not None and answer.refusal is None:
            lease.add(answer, asked_at, now)
        if answer.budget_status is not None:
            lease.budget_status, lease.reported_at = answer.budget_status, now

    def _went_away(self, now: int) -> None:
        if self._away_since is None:
            self._away_since = now
            self._shares.clear()

    def _admit_locally(self, key: str, limits: BudgetLimits, tokens: int, now: int) -> Refusal | None:
        """From this replica's share of the limit, which has gained since the budget store became unreachable."""
        if key not in self._shares:
            began = self._away_since if self._away_since is not None else now
            self._shares[key] = Account.share(limits, self._replicas, began)
        share = self._shares[key]
        if share is None:
            return Refusal("requests", POLL)
        share.slots_taken = self._under_way[key]
        refusal = share.admit(tokens, now)
        if refusal is None:
            self._spent.append((now, key, tokens))
        return refusal

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)  # the loop alone would not keep it alive
        task.add_done_callback(self._tasks.discard)


class LeasedAdmission:
    """An admission whose settlement travels with the replica's next report."""

    __slots__ = ("_budgets", "_key", "_limits", "_open", "_tokens")

    def __init__(self, budgets: LeasedBudgets, key: str, limits: BudgetLimits, tokens: int) -> None:
        self._budgets = budgets
        self._key = key
        self._limits = limits
        self._tokens = tokens
        self._open = True

    def settle(self, used: int | None) -> None:
        if self._open:
            self._open = False
            unused = 0 if used is None or self._limits.tokens is None else self._tokens - used
            self._budgets.settle(self._key, self._limits, unused)


def _grown(units: int, per_minute: int, passed: int, full_in: int, held: int) -> tuple[int, int]:
    """What was told a while ago, as it is now: units and the time until all are there."""
    grown = min(burst_of(per_minute), units + per_minute * passed // MINUTE + held)
    return grown, max(0, full_in - passed)
