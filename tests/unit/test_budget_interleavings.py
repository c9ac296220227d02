"""Any order of requests, of time, of changes and of deaths: never more than the exact bucket and 1 %, nothing leaks,
and nothing that was settled is lost.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.budgets.account import BudgetLimits
from app.budgets.bucket import MINUTE, Bucket, burst_of
from app.budgets.lease import MARGIN
from app.budgets.leased import LeasedBudgets
from app.budgets.messages import LEASE_TIME, Report
from app.budgets.store import ALIVE_TIME
from contract.errors import ApiError
from tests.unit.budget_world import KEY, SECOND, SlowWorld, admitted, turns

LIMITS = (6, 60, 599, 3000)
RESERVED, USED = 9, 4  # tokens of a request
CANCEL_TURNS = 8  # an admission takes fewer turns of the event loop where it asks the store


class Oracle:
    """One exact bucket with `room` beyond its burst, for requests or for tokens."""

    def __init__(self, limit: int) -> None:
        self.bucket = Bucket(limit, 0, burst=burst_of(limit) + limit // 100)
        self.account = Bucket(limit, 0)  # what one account that all know would hold

    def take(self, amount: int, now: int) -> None:
        assert self.bucket.take(amount, now), f"more than the bound was admitted at {now}"
        self.account.give(-amount, now)

    def forgive(self, now: int) -> None:
        """Whoever knew of a debt is gone."""
        self.bucket.give(max(0, -self.bucket.whole(now)), now)


class SettlingWorld(SlowWorld):
    """Tells when the store has counted a settlement: what comes back later than a bucket is full is a gift of time."""

    def __init__(self, settled: Callable[[str, int], None]) -> None:
        super().__init__()
        self._settled = settled
        self._counted: set[tuple[str, int]] = set()

    async def report(self, report: Report) -> bool:
        known = await super().report(report)
        if known and report.settlement is not None and (report.replica, report.settlement.number) not in self._counted:
            self._counted.add((report.replica, report.settlement.number))
            self._settled(report.replica, report.settlement.unused_tokens.get(KEY, 0))
        return known


class Interleavings(RuleBasedStateMachine):
    """A calm world has no deaths: there what is settled is followed exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = SettlingWorld(self.settled)
        self.due: Counter[str] = Counter()  # tokens that replicas have yet to give back

    @initialize(
        limit=st.sampled_from(LIMITS),
        replicas=st.integers(1, 4),
        tokens=st.sampled_from([None, 5]),
        slots=st.sampled_from([None, 3]),
        calm=st.booleans(),
    )
    def begin(self, limit: int, replicas: int, tokens: int | None, slots: int | None, calm: bool) -> None:
        """Where tokens are counted, they are what runs out first: each request reserves more than its part."""
        self.limits = BudgetLimits(limit, tokens and tokens * limit, slots)
        self.calm = calm
        self.requests = Oracle(limit)
        self.tokens = None if self.limits.tokens is None else Oracle(self.limits.tokens)
        self.reserved = RESERVED if self.tokens else 0
        self.replicas = [self.world.replica(replicas, patience=SECOND) for _ in range(replicas)]
        self.retired: list[LeasedBudgets] = []
        self.open: list[tuple[LeasedBudgets, Any]] = []
        self.snapshot: Any = None

    def settled(self, replica: str, tokens: int) -> None:
        """A settlement was counted: with it tokens that were not used."""
        due = min(tokens, self.due[replica])
        self.due[replica] -= due
        if self.tokens:
            self.tokens.bucket.give(due, self.world.now)

    def run(self, work: Any) -> Any:
        async def to_its_end() -> Any:
            result = await work
            await turns()  # what it started in the background goes on
            return result

        return self.loop.run_until_complete(to_its_end())

    def living(self) -> list[LeasedBudgets]:
        return self.replicas + self.retired

    @rule(number=st.integers(0, 3), count=st.sampled_from([1, 10, 1000]), keep=st.booleans())
    def ask(self, number: int, count: int, keep: bool) -> None:
        """Until refused."""
        self.run(self._ask(self.replicas[number % len(self.replicas)], count, keep))

    async def _ask(self, budgets: LeasedBudgets, count: int, keep: bool) -> None:
        for _ in range(count):
            admission = budgets.admit(KEY, self.limits, self.reserved)
            try:
                await admission.__aenter__()
            except ApiError:
                return
            await self._entered(budgets, admission, keep)
            await asyncio.sleep(0)

    async def _entered(self, budgets: LeasedBudgets, admission: Any, keep: bool) -> None:
        self.requests.take(1, self.world.now)
        if self.tokens:
            self.tokens.take(self.reserved, self.world.now)
        if keep:
            self.open.append((budgets, admission))
        else:
            await self._end(budgets, admission)

    async def _end(self, budgets: LeasedBudgets, admission: Any) -> None:
        admission.settle(USED)
        if self.tokens:
            self.tokens.account.give(self.reserved - USED, self.world.now)
            self.due[budgets.replica] += self.reserved - USED
        await admission.__aexit__(None, None, None)

    @rule(number=st.integers(0, 3), after=st.lists(st.integers(0, CANCEL_TURNS), min_size=1, max_size=4))
    def cancel_requests(self, number: int, after: list[int]) -> None:
        """Clients that leave while their requests are admitted, each after so many turns of the event loop."""
        budgets = self.replicas[number % len(self.replicas)]

        async def leave() -> None:
            for count in after:
                admission = budgets.admit(KEY, self.limits, self.reserved)
                entering = asyncio.ensure_future(admission.__aenter__())
                await turns(count)
                entering.cancel()
                await asyncio.wait([entering])
                if entering.cancelled():
                    self.due[budgets.replica] += self.reserved  # the store may have charged it, and gets it back
                if not entering.cancelled() and entering.exception() is None:
                    await self._entered(budgets, admission, keep=False)
                elif self.calm:  # a request that was charged, and is never given back
                    self.requests.account.give(-1, self.world.now)

        self.run(leave())

    @rule(number=st.integers(1, 4))
    def change_the_number_of_replicas(self, number: int) -> None:
        """Each replica's budgets retire, and others take their place."""
        for budgets in self.replicas:
            budgets.retire()
        self.retired += self.replicas
        self.replicas = [self.world.replica(number, patience=SECOND) for _ in range(number)]

    @rule(nanoseconds=st.sampled_from([1, SECOND // 10, SECOND, 4 * SECOND, LEASE_TIME + 1, MINUTE]))
    def wait(self, nanoseconds: int) -> None:
        self.world.now += nanoseconds
        if self.world.store:
            self.world.store.sweep(self.world.now)

    @rule(number=st.integers(0, 7))
    def tick(self, number: int) -> None:
        self.run(self.living()[number % len(self.living())].tick())

    def tick_all(self) -> None:
        for budgets in self.living():
            self.run(budgets.tick())

    @precondition(lambda self: not self.calm and self.world.store is not None)
    @rule()
    def crash_the_store(self) -> None:
        """For as long as it is away, debts are known to those replicas only that made them."""
        assert self.world.store is not None
        self.snapshot = self.world.store.debts(self.world.now)
        self.world.crash()
        if len(self.living()) > 1:
            self.forgive()

    @precondition(lambda self: self.world.store is None)
    @rule(snapshot_lost=st.booleans())
    def restart_the_store(self, snapshot_lost: bool) -> None:
        """All replicas report within a second, long before it grants anything to some of them only."""
        self.world.restart(None if snapshot_lost else self.snapshot)
        self.tick_all()

    @precondition(lambda self: not self.calm and self.world.store is not None)
    @rule(snapshot_lost=st.booleans())
    def bounce_the_store(self, snapshot_lost: bool) -> None:
        assert self.world.store is not None
        self.snapshot = self.world.store.debts(self.world.now)
        self.restart_the_store(snapshot_lost)

    @precondition(lambda self: not self.calm)
    @rule(number=st.integers(0, 3))
    def replace_a_replica(self, number: int) -> None:
        """What it had not reported is lost with it; so is a debt, if the snapshot is lost as well."""
        index = number % len(self.replicas)
        dead = self.replicas[index]
        self.replicas[index] = self.world.replica(len(self.replicas), patience=SECOND)
        self.open = [(owner, one) for owner, one in self.open if owner is not dead]
        self.forgive()

    def forgive(self) -> None:
        for oracle in (self.requests, self.tokens):
            if oracle is not None:
                oracle.forgive(self.world.now)

    @precondition(lambda self: self.open)
    @rule()
    def end_a_request(self) -> None:
        self.run(self._end(*self.open.pop()))

    @invariant()
    def leases_stay_within_a_hundredth(self) -> None:
        if self.world.store and hasattr(self, "limits"):
            leased = self.world.store.leased(KEY, self.world.now)
            assert leased.requests <= self.limits.requests // 100
            assert leased.tokens <= (self.limits.tokens or 0) // 100

    def teardown(self) -> None:
        if hasattr(self, "limits"):
            if self.world.store is None:
                self.restart_the_store(snapshot_lost=False)
            while self.open:
                self.end_a_request()
            self.everything_is_settled_within_a_report()
            self.nothing_is_held_in_the_end()
        self.loop.close()

    def everything_is_settled_within_a_report(self) -> None:
        self.tick_all()
        assert self.world.store
        if self.calm:  # else slots of the dead have to expire
            assert self.world.store.slots_held(self.world.now) == 0, "a slot leaked"
        never_leased = self.limits.slots is not None or self.limits.requests < 100
        account = self.world.store._accounts.get(KEY)
        if self.calm and never_leased and self.tokens and account and account.tokens:
            settled = account.tokens.whole(self.world.now)
            assert settled >= self.tokens.account.whole(self.world.now), "a settlement was lost"

    def nothing_is_held_in_the_end(self) -> None:
        for budgets in self.living():
            budgets.retire()
            self.run(asyncio.wait_for(budgets.keep(), 1))  # ends, as all is given back
        assert self.world.store
        if self.calm:  # else leases of the dead have to expire
            self.world.now += MARGIN  # before its end a lease is neither used nor given back
            assert self.world.store.leased(KEY, self.world.now) == (0, 0)
        self.world.now += max(LEASE_TIME, ALIVE_TIME) + 2 * MINUTE
        assert self.world.store.slots_held(self.world.now) == 0
        survivor = self.world.replica(len(self.replicas))
        burst = burst_of(self.limits.requests)
        assert all(self.run(admitted(survivor, self.limits)) for _ in range(min(burst, self.limits.slots or burst)))


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
