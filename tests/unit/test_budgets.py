"""Budgets over N ingress replicas: never more than the exact bucket and 1 %, whatever dies and whenever."""

import asyncio
from typing import Any

import pytest

from app.budgets.account import BudgetLimits
from app.budgets.bucket import MINUTE
from app.budgets.exact import ExactBudgets
from app.budgets.leased import LeasedBudgets
from app.budgets.store import LEASE, SESSION, Ask, Held, Join, Report
from contract.errors import ApiError
from tests.unit.budget_world import KEY, SECOND, SlowWorld, World, admitted


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("kind", ["exact", "leased"])
class TestOneReplica:
    """The twins behave alike where there is one replica."""

    @pytest.fixture
    def budgets(self, world: World, kind: str) -> Any:
        return ExactBudgets(world.clock) if kind == "exact" else world.replica()

    async def test_the_burst_then_the_rate(self, world: World, budgets: Any) -> None:
        limits = BudgetLimits(600)
        assert [await admitted(budgets, limits) for _ in range(61)] == [True] * 60 + [False]
        world.now += SECOND // 10
        assert [await admitted(budgets, limits) for _ in range(2)] == [True, False]

    async def test_retry_after_is_true(self, world: World, budgets: Any) -> None:
        limits = BudgetLimits(6)
        assert await admitted(budgets, limits)
        with pytest.raises(ApiError) as caught:
            await budgets.admit(KEY, limits, 0)
        assert caught.value.retry_after == 10
        world.now += 10 * SECOND
        assert await admitted(budgets, limits)

    async def test_tokens_are_reserved_and_settled(self, world: World, budgets: Any) -> None:
        limits = BudgetLimits(6000, tokens=1000)
        first = await budgets.admit(KEY, limits, 90)
        with pytest.raises(ApiError, match="1000 tokens a minute"):
            await budgets.admit(KEY, limits, 20)
        first.settle(10)
        first.settle(0)  # a second time changes nothing
        if isinstance(budgets, LeasedBudgets):
            await budgets.tick()  # a report takes it to the budget store
        await budgets.admit(KEY, limits, 80)

    async def test_slots_come_back(self, budgets: Any, world: World) -> None:
        limits = BudgetLimits(6000, slots=2)
        first, _ = await budgets.admit(KEY, limits, 0), await budgets.admit(KEY, limits, 0)
        with pytest.raises(ApiError, match="2 requests under way"):
            await budgets.admit(KEY, limits, 0)
        first.settle(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        world.now += SECOND
        await budgets.admit(KEY, limits, 0)

    async def test_two_keys_share_nothing(self, budgets: Any) -> None:
        assert await admitted(budgets, BudgetLimits(1))
        await budgets.admit("key000000001", BudgetLimits(1), 0)

    async def test_the_budget_status_follows(self, world: World, budgets: Any) -> None:
        limits = BudgetLimits(600, tokens=6000)
        assert budgets.budget_status(KEY, limits)[1:] == (60, 0, 600, 0)
        for _ in range(30):
            await budgets.admit(KEY, limits, 10)
        world.now += SECOND
        budget_status = budgets.budget_status(KEY, limits)
        assert (budget_status.requests, budget_status.tokens) == (40, 400)
        assert budget_status.requests_full_in <= 3 * SECOND


class TestLeases:
    async def test_the_common_path_asks_nobody(self, world: World) -> None:
        budgets, limits = world.replica(), BudgetLimits(60_000)
        assert await admitted(budgets, limits)
        calls = world.calls
        assert all([await admitted(budgets, limits) for _ in range(299)])
        assert world.calls == calls

    async def test_it_is_filled_up_ahead_of_need(self, world: World) -> None:
        budgets, limits = world.replica(), BudgetLimits(60_000)
        calls = []
        for _ in range(3000):
            assert await admitted(budgets, limits)
            await asyncio.sleep(0)
            calls.append(world.calls)
        assert calls[-1] < 15

    async def test_requests_at_once_start_one_question_about_the_slice(self, world: World) -> None:
        """Two would each get a slice, and the budget store would know of one."""
        budgets, limits = world.replica(), BudgetLimits(60_000)
        await admitted(budgets, limits)
        calls = world.calls
        for _ in range(400):  # beyond the mark where more is asked for, without a pause in which it could come
            await budgets.admit(KEY, limits, 0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert world.calls == calls + 1

    async def test_a_replica_that_many_requests_introduce_at_once_joins_once(self) -> None:
        world = SlowWorld()
        budgets, limits = world.replica(), BudgetLimits(60_000, slots=50)
        await asyncio.gather(*(budgets.admit(KEY, limits, 0) for _ in range(20)))
        assert world.store is not None
        assert world.store.under_way() == 20

    async def test_a_small_limit_is_asked_for_each_time(self, world: World) -> None:
        budgets, limits = world.replica(replicas=3), BudgetLimits(299)
        await admitted(budgets, limits)
        calls = world.calls
        await admitted(budgets, limits)
        assert world.calls == calls + 1
        assert world.store is not None
        assert world.store.outstanding(KEY, world.now) == (0, 0)

    async def test_a_refusal_is_remembered_for_as_long_as_it_holds(self, world: World) -> None:
        budgets, limits = world.replica(), BudgetLimits(60)
        while await admitted(budgets, limits):
            pass
        calls = world.calls
        for _ in range(9):
            world.now += SECOND // 10
            assert not await admitted(budgets, limits)
        assert world.calls == calls
        world.now += SECOND // 10
        assert await admitted(budgets, limits)

    async def test_an_idle_slice_goes_back(self, world: World) -> None:
        budgets, limits = world.replica(), BudgetLimits(60_000)
        await admitted(budgets, limits)
        assert world.store is not None
        assert world.store.outstanding(KEY, world.now).requests == 600
        world.now += 3 * SECOND
        await budgets.tick()
        assert world.store.outstanding(KEY, world.now).requests == 0

    async def test_a_slice_that_has_expired_is_not_spent(self, world: World) -> None:
        budgets, limits = world.replica(), BudgetLimits(60_000)
        await admitted(budgets, limits)
        world.now += LEASE
        calls = world.calls
        await admitted(budgets, limits)
        assert world.calls > calls

    async def test_what_is_left_of_a_slice_that_has_expired_does_not_come_back(self, world: World) -> None:
        """The budget store let others have it meanwhile."""
        assert world.store is not None
        world.store.join(Join("one", 1, {}, []), 0)
        answer = world.store.answer(Ask("one", KEY, BudgetLimits(60_000), True, 0, Held()), 0)
        assert answer.added.requests == 600
        while not world.store.answer(Ask("one", KEY, BudgetLimits(60_000), True, 0, None), LEASE).refusal:
            pass
        world.store.report(Report("one", {}, {}, {KEY: answer.added}), LEASE)
        assert world.store.answer(Ask("one", KEY, BudgetLimits(60_000), True, 0, None), LEASE).refusal

    async def test_all_slices_go_back_at_shutdown(self, world: World) -> None:
        budgets, limits = world.replica(), BudgetLimits(60_000)
        await admitted(budgets, limits)
        await budgets.close()
        assert world.store is not None
        assert world.store.outstanding(KEY, world.now).requests == 0

    async def test_slices_of_all_replicas_are_at_most_a_hundredth(self, world: World) -> None:
        limits = BudgetLimits(60_000)
        for _ in range(5):  # two more than were announced, as in a rolling update
            await admitted(world.replica(replicas=3), limits)
        assert world.store is not None
        assert world.store.outstanding(KEY, world.now).requests <= 600


class TestDeaths:
    async def test_a_dead_replica_loses_its_slice_and_its_slots_until_they_expire(self, world: World) -> None:
        dead, heir = world.replica(), world.replica()
        await dead.admit(KEY, BudgetLimits(60_000), 0)
        await dead.admit("key000000001", BudgetLimits(600, slots=1), 0)
        with pytest.raises(ApiError):
            await heir.admit("key000000001", BudgetLimits(600, slots=1), 0)
        world.now += max(LEASE, SESSION) + 1
        assert world.store is not None
        world.store.sweep(world.now)
        assert world.store.outstanding(KEY, world.now) == (0, 0)
        assert world.store.under_way() == 0
        await heir.admit("key000000001", BudgetLimits(600, slots=1), 0)

    async def test_slices_outlive_the_store(self, world: World) -> None:
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
        held = await budgets.admit(KEY, limits, 0)
        world.restart()
        await budgets.tick()
        world.now += SECOND
        with pytest.raises(ApiError, match="under way"):
            await budgets.admit(KEY, limits, 0)
        held.settle(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await budgets.admit(KEY, limits, 0)

    async def test_debts_outlive_the_store(self, world: World) -> None:
        budgets, limits = world.replica(), BudgetLimits(6000, tokens=60)
        await budgets.admit(KEY, limits, 126)
        assert world.store is not None
        debts = world.store.debts(world.now)
        assert debts == {KEY: (0, 120)}
        world.restart(debts)
        world.now += 119 * SECOND
        assert not await admitted(budgets, limits, 1)
        world.now += 3 * SECOND
        assert await admitted(budgets, limits, 1)
