"""Budgets of one gateway replica among several: admissions from leases that the budget store grants, without a call.

While the store is unreachable, the replica goes on within its leases and then within its share of each limit, and
what it cannot admit at once waits a little: no request fails because the store does.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from app.budgets.account import Account, BudgetLimits, BudgetStatus, Debt, Refusal
from app.budgets.admission import refused
from app.budgets.exact import Clock
from app.budgets.lease import LocalLease
from app.budgets.ledger import Ledger
from app.budgets.local_shares import POLL, LocalShares
from app.budgets.messages import SECOND, AdmissionReply, AdmissionRequest, Amount, Join, Report, ReturnedLease
from app.budgets.store import lease_is_worthwhile
from app.budgets.store_link import StoreLink, StoreUnreachableError

logger = logging.getLogger("portico.budgets")

PATIENCE = 10 * SECOND  # how long a request waits for a store that is unreachable or has restarted
IDLE = 2 * SECOND  # a lease that was not used for so long is given back
REPORT_SECONDS = 1.0
# Many replicas report less often, so that a store has time for the rest; a store that restarted waits 3 s for each.
REPORTS_PER_SECOND = 200
LONGEST_REPORT_SECONDS = 2.5


class Decision(NamedTuple):
    """What became of one try to admit a request."""

    refusal: Refusal | None
    patient: bool = False  # only the store's trouble is in the way: it is worth waiting
    slot: int | None = None  # the number under which a slot is held


class LeasedBudgets:
    """One replica's view of all budgets.

    After `retire` it goes on for the requests that it has admitted: it reports until the last of them has ended and all
    is given back; then `keep` returns.
    """

    def __init__(
        self,
        link: StoreLink,
        replicas: int,
        clock: Clock = time.monotonic_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        patience: int = PATIENCE,
    ) -> None:
        self.replica = uuid.uuid4().hex
        self._link = link
        self._replicas = replicas
        self._clock = clock
        self._sleep = sleep
        self._patience = patience
        self._report_seconds = REPORT_SECONDS * min(LONGEST_REPORT_SECONDS, max(1, replicas / REPORTS_PER_SECOND))
        self._leases: dict[str, LocalLease] = {}
        self._open: dict[str, LocalLease] = {}  # leases that may have to be given back
        self._ledger = Ledger()
        self._shares = LocalShares(replicas)
        self._under_way = 0  # admissions that are open
        self._unreachable_since: int | None = None
        self._polled = 0
        self._joins = 0
        self._joining = asyncio.Lock()
        self._reporting = asyncio.Lock()
        self._report_wanted = False
        self._retired = False
        self._retirement_told = False  # or tried to: a store that does not hear of it misses these reports soon
        self._kept = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def admit(self, key: str, limits: BudgetLimits, tokens: int) -> "LeasedAdmission":
        return LeasedAdmission(self, key, limits, tokens)

    @property
    def store_unreachable(self) -> bool:
        """Whether the last call did not reach the budget store."""
        return self._unreachable_since is not None

    def budget_status(self, key: str, limits: BudgetLimits) -> BudgetStatus:
        now = self._clock()
        lease = self._leases.get(key)
        return Account.open(limits, now).budget_status(now) if lease is None else lease.budget_status(limits, now)

    async def keep(self) -> None:
        """Join now, so that no request waits for the store to start, and report every second, or a little less often.

        Returns when these budgets are retired and all is given back. May be started again after an error.
        """
        self._kept = True
        try:
            await self.tick()
            while not self._is_finished():
                await self._sleep(self._report_seconds)
                await self.tick()
        finally:
            self._kept = False

    async def tick(self, idle: int | None = IDLE) -> None:
        """Report to the store; give back leases unused for `idle` nanoseconds, or none. An unreachable store raises
        nothing.
        """
        async with self._reporting:
            called = self._clock()
            try:
                told, self._retirement_told = self._retirement_told, self._retired
                if self._unreachable_since is not None or not self._joins or told != self._retired:
                    await self._join(self._joins)
                await self._report(-1 if self._retired else idle)
            except StoreUnreachableError:
                self._became_unreachable(called)

    def retire(self) -> None:
        self._retired = True

    async def close(self) -> None:
        """Give all leases back, at shutdown."""
        repeats = self._ledger.sent is not None
        await self.tick(idle=-1)
        if repeats:  # then the new settlement is still to be sent
            await self.tick(idle=-1)

    def take(self, key: str, limits: BudgetLimits, tokens: int) -> bool:
        """Admit a request from the lease; False where the store is to decide. Raises RateLimited."""
        now = self._clock()
        lease = self._leases.get(key)
        if lease is None:
            lease = self._leases[key] = LocalLease(limits, now)
        lease.limits = limits
        if limits.slots is None and lease.take(tokens, now):
            self._under_way += 1
            if not lease.busy and lease.runs_out(now) and not self._retired:
                lease.busy = True
                self._start(self._fill_up(key, lease))
            return True
        if now < lease.refused_until:
            raise refused(limits, Refusal("requests", lease.refused_until - now))
        return False

    async def request(self, key: str, limits: BudgetLimits, tokens: int) -> int | None:
        """Have the store admit a request, or the local share; wait where only the store's trouble is in the way.

        Returns the number of its slot, if it takes one. Raises RateLimited.
        """
        self._under_way += 1
        if self._retired and not self._kept:  # a request that began before, and comes so late
            self._start(self.keep())
        try:
            return await self._request(key, limits, tokens)
        except BaseException:
            self._under_way -= 1
            raise

    async def _request(self, key: str, limits: BudgetLimits, tokens: int) -> int | None:
        lease, since = self._leases[key], self._clock()
        while True:
            decision = await self._decide(key, lease, limits, tokens)
            if decision.refusal is None:
                return decision.slot
            now, refusal = self._clock(), decision.refusal
            if limits.slots is None and lease.take(tokens, now):  # it was filled up meanwhile, with what was left
                return None
            wait = min(refusal.wait, POLL)
            if not decision.patient or now + wait > since + self._patience:
                if refusal.resource == "requests":
                    lease.refused_until = now + refusal.wait
                raise refused(limits, refusal)
            await self._sleep(wait / SECOND)

    def settle(self, key: str, unused: int) -> None:
        """Tokens of an admission were reserved and not used; below zero: used beyond the reservation."""
        self._ledger.settle(key, unused)

    def end(self, key: str, slot: int | None) -> None:
        """An admission has ended."""
        self._under_way -= 1
        self._free(key, slot)

    async def _decide(self, key: str, lease: LocalLease, limits: BudgetLimits, tokens: int) -> Decision:
        """One try. Where its caller is cancelled it is finished all the same, and then taken back."""
        now = self._clock()
        # A call of a store that does not answer takes its whole time limit: one request makes it, and no other waits.
        if self._unreachable_since is not None and (now < self._polled + POLL or self._joining.locked()):
            return self._admit_locally(key, lease, limits, tokens)
        work = self._start(self._ask(key, lease, limits, tokens))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:

            def take_back(done: "asyncio.Task[Decision]") -> None:
                if not done.cancelled() and done.exception() is None and done.result().refusal is None:
                    if limits.tokens is not None:
                        self.settle(key, tokens)
                    self._free(key, done.result().slot)

            work.add_done_callback(take_back)
            raise

    async def _ask(self, key: str, lease: LocalLease, limits: BudgetLimits, tokens: int) -> Decision:
        """The store's decision; the local share's where the store is unreachable."""
        left = None
        if not lease.busy and not self._retired and lease_is_worthwhile(limits, self._replicas):
            lease.busy, left = True, lease.left(self._clock())
        called = self._clock()
        try:
            number, reply = await self._send(key, lease, limits, tokens, left)
        except StoreUnreachableError:
            self._became_unreachable(called)
            return self._admit_locally(key, lease, limits, tokens)
        finally:
            if left is not None:
                lease.busy = False
        if reply.refusal is not None:
            return Decision(reply.refusal, reply.restarted)
        return self._admitted(key, limits, number)

    async def _fill_up(self, key: str, lease: LocalLease) -> None:
        """Have the lease filled up before it is needed; `lease.busy` is set already."""
        called = self._clock()
        try:
            await self._send(key, lease, lease.limits, None, lease.left(called))
        except StoreUnreachableError:
            self._became_unreachable(called)
        finally:
            lease.busy = False

    async def _send(
        self, key: str, lease: LocalLease, limits: BudgetLimits, tokens: int | None, left: Amount | None
    ) -> tuple[int, AdmissionReply]:
        """Send an admission request, of `tokens` or for the lease only; join first where the store does not know this
        replica. Returns its number and the reply, which the lease has learned from.
        """
        self._polled = self._clock()
        if self._unreachable_since is not None:
            await self._join(self._joins)
        for _ in range(2):
            joins, number, sent_at = self._joins, self._ledger.ask(), self._clock()
            try:
                reply = await self._link.admit(
                    AdmissionRequest(self.replica, number, key, limits, tokens is not None, tokens or 0, left)
                )
            finally:
                self._ledger.answered(number)
            if reply.known:
                now = self._clock()
                if left is not None and reply.refusal is None:
                    lease.fill(number, reply.added, sent_at, now)
                    self._open[key] = lease
                lease.learn(reply, now)
                return number, reply
            await self._join(joins)
        raise StoreUnreachableError

    def _admit_locally(self, key: str, lease: LocalLease, limits: BudgetLimits, tokens: int) -> Decision:
        """From this replica's share of the limit, which has gained since the store became unreachable."""
        if self._retired:  # the share is another's now
            return Decision(Refusal("requests", POLL), patient=True)
        now, number = self._clock(), self._ledger.next_number()
        held = self._ledger.held(key)
        debt = lease.debt(now if self._unreachable_since is None else self._unreachable_since)
        refusal = self._shares.admit(number, key, limits, tokens, slots_held=held, debt=debt, now=now)
        if refusal is not None:
            return Decision(refusal, patient=True)
        return self._admitted(key, limits, number)

    def _admitted(self, key: str, limits: BudgetLimits, number: int) -> Decision:
        if limits.slots is None:
            return Decision(None)
        self._ledger.hold(key, number)
        return Decision(None, slot=number)

    async def _join(self, joins: int) -> None:
        """Tell the store what this replica holds and has admitted without it; once for all who saw `joins`."""
        async with self._joining:
            if self._joins != joins:
                return
            while True:
                now = self._polled = self._clock()
                number, local = self._ledger.next_number(), self._shares.unreported(now)
                debts: dict[str, Debt] = {
                    key: lease.debt(now) for key, lease in self._leases.items() if lease.overdrawn()
                }
                join = Join(self.replica, number, self._replicas, self._retired, self._ledger.slots(), local, debts)
                reply = await self._link.join(join)
                self._shares.reported(number)
                if not reply.remembered and self._ledger.uncertain:
                    self._end_settlement()  # the store before may have counted it, and its snapshot with it
                self._joins += 1
                self._unreachable_since = None
                if not self._shares.has_unreported():
                    return

    async def _report(self, idle: int | None) -> None:
        if self._ledger.sent is None:
            self._ledger.close_settlement({} if idle is None else self._give_up_leases(idle))
        for _ in range(2):
            joins = self._joins
            report = Report(self.replica, self._ledger.next_number(), self._ledger.slots(), self._ledger.sent)
            before, self._ledger.uncertain = self._ledger.uncertain, report.settlement is not None
            if await self._link.report(report):
                self._end_settlement()
                return
            self._ledger.uncertain = before
            await self._join(joins)
        raise StoreUnreachableError

    def _free(self, key: str, slot: int | None) -> None:
        if slot is not None:
            self._ledger.free(key, slot)
            self._report_soon()  # the key's next request may wait for this slot

    def _give_up_leases(self, idle: int) -> dict[str, ReturnedLease]:
        now = self._clock()
        given_up = {}
        for key, lease in list(self._open.items()):
            if lease.is_idle(now - idle, now):
                lease.busy = True  # until the store knows it
                given_up[key] = ReturnedLease(lease.number, lease.give_up(now))
            if not lease.is_open(now):
                del self._open[key]
        return given_up

    def _end_settlement(self) -> None:
        """It was acknowledged; or the store that it was sent to is gone."""
        for key in self._ledger.sent.leases if self._ledger.sent is not None else ():
            self._leases[key].busy = False
        self._ledger.sent, self._ledger.uncertain = None, False

    def _report_soon(self) -> None:
        """Report what ends now; what ends while a report is on its way goes with the next one."""
        if not self._report_wanted:
            self._report_wanted = True
            self._start(self._report_now())

    async def _report_now(self) -> None:
        async with self._reporting:
            self._report_wanted = False
        await self.tick(idle=None)  # it may come many times a second, and there may be many leases

    def _became_unreachable(self, since: int) -> None:
        """`since` is when the call began that failed: it may have taken seconds, in which the share gains already."""
        if self._unreachable_since is None:
            self._unreachable_since = since
            self._shares.begin(since)

    def _is_finished(self) -> bool:
        return (
            self._retired
            and self._retirement_told
            and not self._under_way
            and not any(lease.busy or lease.is_open(self._clock()) for lease in self._leases.values())
            and not self._shares.has_unreported()
            and self._ledger.is_settled()
        )

    def _start(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop alone would not keep it alive
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a call of the budget store failed", exc_info=error)


class LeasedAdmission:
    """An admission whose settlement travels with the replica's next report."""

    __slots__ = ("_budgets", "_key", "_limits", "_settled", "_slot", "_tokens")

    def __init__(self, budgets: LeasedBudgets, key: str, limits: BudgetLimits, tokens: int) -> None:
        self._budgets = budgets
        self._key = key
        self._limits = limits
        self._tokens = tokens
        self._settled = False
        self._slot: int | None = None

    async def __aenter__(self) -> "LeasedAdmission":
        if not self._budgets.take(self._key, self._limits, self._tokens):
            self._slot = await self._budgets.request(self._key, self._limits, self._tokens)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._settled = True
        self._budgets.end(self._key, self._slot)

    def settle(self, used: int | None) -> None:
        if not self._settled:
            self._settled = True
            if used is not None and self._limits.tokens is not None and used != self._tokens:
                self._budgets.settle(self._key, self._tokens - used)
