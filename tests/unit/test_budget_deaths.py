"""Replicas and budget stores that die: what was leased, what is under way and what is owed outlives them."""

import pytest

from app.budgets.account import BudgetLimits
from app.budgets.bucket import MINUTE
from app.budgets.messages import LEASE_TIME
from app.budgets.store import ALIVE_TIME
from contract.errors import ApiError
from tests.unit.budget_world import KEY, SECOND, World, admitted, closed, opened, turns


@pytest.fixture
def world() -> World:
    return World()


class TestDeaths:
    async def test_a_dead_replica_loses_its_lease_and_its_slots_until_they_expire(self, world: World) -> None:
        dead, heir = world.replica(), world.replica()
        await opened(dead, BudgetLimits(60_000))
        await opened(dead, BudgetLimits(600, slots=1), key="key000000001")
        with pytest.raises(ApiError):
            await opened(heir, BudgetLimits(600, slots=1), key="key000000001")
        world.now += max(LEASE_TIME, ALIVE_TIME) + 1
        assert world.store is not None
        world.store.sweep(world.now)
        assert world.store.leased(KEY, world.now) == (0, 0)
        assert world.store.slots_held(world.now) == 0
        await opened(heir, BudgetLimits(600, slots=1), key="key000000001")

    async def test_leases_outlive_the_store(self, world: World) -> None:
        budgets, limits = world.replica(), BudgetLimits(60_000)
        await admitted(budgets, limits)
        world.crash()
        assert all([await admitted(budgets, limits) for _ in range(599)])

    async def test_then_comes_the_local_share(self, world: World) -> None:
        budgets, limits = world.replica(replicas=3), BudgetLimits(180)
        await admitted(budgets, limits)
        world.crash()
        assert not await admitted(budgets, limits)
        world.now += 2 * SECOND  # a third of the limit: one a second
        assert [await admitted(budgets, limits) for _ in range(3)] == [True, True, False]

    async def test_a_limit_that_cannot_be_shared_waits_for_the_store(self, world: World) -> None:
        """One request at a time for three replicas: each would let one through."""
        budgets, limits = world.replica(replicas=3), BudgetLimits(6)
        world.crash()
        world.now += MINUTE
        assert not await admitted(budgets, limits)
        assert budgets.store_unreachable
        world.restart()
        world.now += MINUTE
        assert await admitted(budgets, limits)
        assert not budgets.store_unreachable

    async def test_a_request_waits_for_a_store_that_comes_back(self, world: World) -> None:
        budgets, limits = world.replica(patience=10 * SECOND), BudgetLimits(60)
        for _ in range(3):
            assert await admitted(budgets, limits)
        world.crash()
        began = world.now

        async def sleep(seconds: float) -> None:
            await world_sleep(seconds)
            if world.store is None and world.now > began + SECOND // 2:
                world.restart()

        world_sleep, budgets._sleep = world.sleep, sleep
        assert await admitted(budgets, limits), "no request fails because the budget store did"
        assert world.now > began

    async def test_a_store_that_restarted_knows_what_is_under_way(self, world: World) -> None:
        budgets, limits = world.replica(patience=SECOND), BudgetLimits(6000, slots=1)
        stream = await opened(budgets, limits)
        world.restart()
        await budgets.tick()
        world.now += SECOND
        with pytest.raises(ApiError, match="concurrent requests"):
            await opened(budgets, limits)
        await closed(stream)
        await turns()
        await opened(budgets, limits)

    async def test_debts_outlive_the_store(self, world: World) -> None:
        budgets, limits = world.replica(), BudgetLimits(6000, tokens=60)
        await opened(budgets, limits, 126)
        assert world.store is not None
        debts = world.store.debts(world.now)
        assert debts == {KEY: (0, 120 * SECOND)}
        world.restart(debts)
        world.now += 119 * SECOND
        assert not await admitted(budgets, limits, 1)
        world.now += 3 * SECOND
        assert await admitted(budgets, limits, 1)


class TestDebts:
    """A request of more tokens than a full account holds leaves a debt, which no restart forgets."""

    LIMITS = BudgetLimits(6000, tokens=60)

    @pytest.mark.parametrize("silent", [0, 2])
    async def test_a_replica_reports_it_to_a_store_whose_snapshot_was_lost(self, world: World, silent: int) -> None:
        budgets = world.replica()
        await opened(budgets, self.LIMITS, 126)
        world.restart()
        world.now += silent * SECOND
        await budgets.tick()
        world.now += (119 - silent) * SECOND
        assert not await admitted(budgets, self.LIMITS, 1)
        world.now += 3 * SECOND
        assert await admitted(budgets, self.LIMITS, 1)

    async def test_two_replicas_report_it_and_it_counts_once(self, world: World) -> None:
        one, other = world.replica(replicas=2), world.replica(replicas=2)
        await opened(one, self.LIMITS, 126)
        assert not await admitted(other, self.LIMITS, 1)
        assert world.store is not None
        world.restart(world.store.debts(world.now))
        await one.tick()
        await other.tick()
        world.now += 122 * SECOND
        assert await admitted(one, self.LIMITS, 1)

    async def test_the_local_share_knows_it(self, world: World) -> None:
        budgets = world.replica()
        await opened(budgets, self.LIMITS, 66)
        world.crash()
        world.now += 59 * SECOND
        assert not await admitted(budgets, self.LIMITS, 1)
        world.now += 3 * SECOND
        assert await admitted(budgets, self.LIMITS, 1)

    @pytest.mark.parametrize("joins_after", [0, 7])
    async def test_that_of_a_local_share_counts_in_the_store_that_starts(self, world: World, joins_after: int) -> None:
        budgets = world.replica()
        await budgets.tick()
        world.crash()
        assert not await admitted(budgets, self.LIMITS, 1)
        world.now += 6 * SECOND
        assert await admitted(budgets, self.LIMITS, 66)
        world.now += SECOND
        world.restart()
        world.now += joins_after * SECOND
        await budgets.tick()
        world.now += (58 - joins_after) * SECOND
        assert not await admitted(budgets, self.LIMITS, 1)
        world.now += 3 * SECOND
        assert await admitted(budgets, self.LIMITS, 1)
