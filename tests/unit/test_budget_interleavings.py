"""Any order of requests, of time and of deaths: never more than the exact bucket and 1 %, and nothing leaks."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.budgets.account import BudgetLimits
from app.budgets.bucket import MINUTE, Bucket, burst_of
from app.budgets.leased import LeasedBudgets
from app.budgets.store import LEASE, SESSION
from contract.errors import ApiError
from tests.unit.budget_world import KEY, SECOND, World, admitted

LIMITS = (6, 60, 599, 3000)
RESERVED, USED = 9, 4  # tokens of a request


class Interleavings(RuleBasedStateMachine):
    """Any order of requests, of time, and of deaths. The oracle is an exact bucket with 1 % more room."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World()

    @initialize(
        limit=st.sampled_from(LIMITS),
        replicas=st.integers(1, 4),
        tokens=st.sampled_from([None, 5]),
        slots=st.sampled_from([None, 3]),
    )
    def begin(self, limit: int, replicas: int, tokens: int | None, slots: int | None) -> None:
        """Where tokens are counted, they are what runs out first: each request reserves more than its part."""
        self.limits = BudgetLimits(limit, tokens and tokens * limit, slots)
        self.token_oracle = None
        if self.limits.tokens is not None:
            room = burst_of(self.limits.tokens) + self.limits.tokens // 100
            self.token_oracle = Bucket(self.limits.tokens, 0, burst=room)
        self.replicas = [self.world.replica(replicas, patience=SECOND) for _ in range(replicas)]
        self.oracle = Bucket(limit, 0, burst=burst_of(limit) + limit // 100)
        self.open: list[tuple[LeasedBudgets, Any]] = []

    def run(self, work: Any) -> Any:
        result = self.loop.run_until_complete(work)
        self.loop.run_until_complete(asyncio.sleep(0))
        return result

    @rule(number=st.integers(0, 3), count=st.sampled_from([1, 10, 1000]), keep=st.booleans())
    def ask(self, number: int, count: int, keep: bool) -> None:
        self.run(self._ask(self.replicas[number % len(self.replicas)], count, keep))

    async def _ask(self, budgets: LeasedBudgets, count: int, keep: bool) -> None:
        """Ask until refused."""
        for _ in range(count):
            try:
                admission = await budgets.admit(KEY, self.limits, RESERVED if self.token_oracle else 0)
            except ApiError:
                return
            assert self.oracle.take(1, self.world.now), f"more than the bound was admitted at {self.world.now}"
            if self.token_oracle:
                assert self.token_oracle.take(RESERVED, self.world.now), f"too many tokens at {self.world.now}"
            if keep:
                self.open.append((budgets, admission))
            else:
                self._settle(admission)
            await asyncio.sleep(0)  # what it started in the background goes on

    def _settle(self, admission: Any) -> None:
        admission.settle(USED)
        if self.token_oracle:
            self.token_oracle.give(RESERVED - USED, self.world.now)

    @rule(nanoseconds=st.sampled_from([1, SECOND // 10, SECOND, 4 * SECOND, LEASE + 1, MINUTE]))
    def wait(self, nanoseconds: int) -> None:
        self.world.now += nanoseconds
        if self.world.store:
            self.world.store.sweep(self.world.now)

    @rule(number=st.integers(0, 3))
    def tick(self, number: int) -> None:
        self.run(self.replicas[number % len(self.replicas)].tick())

    @rule()
    def crash_the_store(self) -> None:
        self.world.crash()

    @precondition(lambda self: self.world.store is None)
    @rule()
    def restart_the_store(self) -> None:
        self.world.restart()

    @rule()
    def bounce_the_store(self) -> None:
        self.world.restart()

    @rule(number=st.integers(0, 3))
    def replace_a_replica(self, number: int) -> None:
        index = number % len(self.replicas)
        dead = self.replicas[index]
        self.replicas[index] = self.world.replica(len(self.replicas), patience=SECOND)
        self.open = [(owner, one) for owner, one in self.open if owner is not dead]

    @precondition(lambda self: self.open)
    @rule()
    def end_a_request(self) -> None:
        _, admission = self.open.pop()
        self._settle(admission)
        self.run(asyncio.sleep(0))

    @invariant()
    def slices_stay_within_a_hundredth(self) -> None:
        if self.world.store and hasattr(self, "limits"):
            held = self.world.store.outstanding(KEY, self.world.now)
            assert held.requests <= self.limits.requests // 100
            assert held.tokens <= (self.limits.tokens or 0) // 100

    def teardown(self) -> None:
        """After all is settled nothing is held: no slot, no slice, no debt, and the burst is there again."""
        if hasattr(self, "limits"):
            if self.world.store is None:
                self.world.restart()
            for _, admission in self.open:
                admission.settle(None)
            for _ in range(3):
                self.world.now += max(LEASE, SESSION)
                for budgets in self.replicas:
                    self.run(budgets.tick())
                assert self.world.store
                self.world.store.sweep(self.world.now)
            self.world.now += 2 * MINUTE
            assert self.world.store
            assert self.world.store.under_way() == 0
            assert self.world.store.outstanding(KEY, self.world.now) == (0, 0)
            survivor = self.world.replica(len(self.replicas))
            burst = burst_of(self.limits.requests)
            assert all(self.run(admitted(survivor, self.limits)) for _ in range(min(burst, self.limits.slots or burst)))
        self.loop.close()


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
