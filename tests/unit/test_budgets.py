"""Budgets over N ingress replicas: never more than the exact bucket and 1 %, whoever leaves and whenever."""

import asyncio
from typing import Any

import pytest

from app.budgets.account import BudgetLimits
from app.budgets.exact import ExactBudgets
from app.budgets.leased import LeasedBudgets
from app.budgets.messages import (
    LEASE_TIME,
    SECOND,
    AdmissionRequest,
    Amount,
    Join,
    Report,
    ReturnedLease,
    Settlement,
)
from app.budgets.store import ALIVE_TIME
from app.budgets.store_link import StoreUnreachableError
from contract.errors import ApiError
from tests.unit.budget_world import KEY, NO_SLOTS, SlowWorld, World, admitted, closed, opened, turns


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
            await opened(budgets, limits)
        assert caught.value.retry_after == 10
        world.now += 10 * SECOND
        assert await admitted(budgets, limits)

    async def test_tokens_are_reserved_and_settled(self, world: World, budgets: Any) -> None:
        limits = BudgetLimits(6000, tokens=1000)
        first = await opened(budgets, limits, 90)
        with pytest.raises(ApiError, match="tokens: 1000 per minute"):
            await opened(budgets, limits, 20)
        first.settle(10)
        first.settle(0)  # a second time changes nothing
        if isinstance(budgets, LeasedBudgets):
            await budgets.tick()  # a report takes it to the budget store
        await opened(budgets, limits, 80)

    async def test_slots_come_back(self, budgets: Any, world: World) -> None:
        limits = BudgetLimits(6000, slots=2)
        first, _ = await opened(budgets, limits), await opened(budgets, limits)
        with pytest.raises(ApiError, match="concurrent requests: 2 at a time"):
            await opened(budgets, limits)
        await closed(first)
        await turns()
        world.now += SECOND
        await opened(budgets, limits)

    async def test_two_keys_share_nothing(self, budgets: Any) -> None:
        assert await admitted(budgets, BudgetLimits(1))
        await opened(budgets, BudgetLimits(1), key="key000000001")

    async def test_the_budget_status_follows(self, world: World, budgets: Any) -> None:
        limits = BudgetLimits(600, tokens=6000)
        assert budgets.budget_status(KEY, limits)[1:] == (60, 0, 600, 0)
        for _ in range(30):
            await opened(budgets, limits, 10)
        world.now += SECOND
        budget_status = budgets.budget_status(KEY, limits)
        assert (budget_status.requests, budget_status.tokens) == (40, 400)
        assert budget_status.requests_full_in <= 3 * SECOND


class TestLeases:
    async def test_the_common_path_makes_no_call(self, world: World) -> None:
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

    async def test_requests_at_once_start_one_request_about_the_lease(self, world: World) -> None:
        """Two would each get a lease, and the budget store would know of one."""
        budgets, limits = world.replica(), BudgetLimits(60_000)
        await admitted(budgets, limits)
        calls = world.calls
        for _ in range(400):  # beyond the mark where more is requested, without a pause in which it could come
            await opened(budgets, limits)
        await turns()
        assert world.calls == calls + 1

    async def test_a_replica_that_many_requests_introduce_at_once_joins_once(self) -> None:
        world = SlowWorld()
        budgets, limits = world.replica(), BudgetLimits(60_000, slots=50)
        await asyncio.gather(*(opened(budgets, limits) for _ in range(20)))
        assert world.store is not None
        assert world.store.slots_held(world.now) == 20

    async def test_with_a_small_limit_the_store_decides_each_time(self, world: World) -> None:
        budgets, limits = world.replica(replicas=3), BudgetLimits(299)
        await admitted(budgets, limits)
        calls = world.calls
        await admitted(budgets, limits)
        assert world.calls == calls + 1
        assert world.store is not None
        assert world.store.leased(KEY, world.now) == (0, 0)

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

    async def test_an_idle_lease_goes_back(self, world: World) -> None:
        budgets, limits = world.replica(), BudgetLimits(60_000)
        await admitted(budgets, limits)
        assert world.store is not None
        assert world.store.leased(KEY, world.now).requests == 600
        world.now += 3 * SECOND
        await budgets.tick()
        assert world.store.leased(KEY, world.now).requests == 0

    async def test_a_lease_that_has_expired_is_not_spent(self, world: World) -> None:
        budgets, limits = world.replica(), BudgetLimits(60_000)
        await admitted(budgets, limits)
        world.now += LEASE_TIME
        calls = world.calls
        await admitted(budgets, limits)
        assert world.calls > calls

    async def test_what_is_left_of_a_lease_that_has_expired_does_not_come_back(self, world: World) -> None:
        """The budget store let others have it meanwhile."""
        assert world.store is not None
        world.store.join(Join("one", 1, 1, False, NO_SLOTS, [], {}), 0)
        reply = world.store.admit(AdmissionRequest("one", 2, KEY, BudgetLimits(60_000), True, 0, Amount()), 0)
        assert reply.added.requests == 600
        another = AdmissionRequest("one", 3, KEY, BudgetLimits(60_000), True, 0, None)
        while not world.store.admit(another, LEASE_TIME).refusal:
            pass
        returned = Settlement(4, {}, {KEY: ReturnedLease(2, reply.added)})
        world.store.report(Report("one", 5, NO_SLOTS, returned), LEASE_TIME)
        assert world.store.admit(another, LEASE_TIME).refusal

    async def test_all_leases_go_back_at_shutdown(self, world: World) -> None:
        budgets, limits = world.replica(), BudgetLimits(60_000)
        await admitted(budgets, limits)
        await budgets.close()
        assert world.store is not None
        assert world.store.leased(KEY, world.now).requests == 0

    async def test_leases_of_all_replicas_are_at_most_a_hundredth(self, world: World) -> None:
        limits = BudgetLimits(60_000)
        for _ in range(5):  # two more than were announced, as in a rolling update
            await admitted(world.replica(replicas=3), limits)
        assert world.store is not None
        assert world.store.leased(KEY, world.now).requests <= 600


class TestCancelledRequests:
    """A client may leave at any moment of its request's admission."""

    @pytest.mark.parametrize("leaves_after", range(8))
    async def test_its_slot_and_its_tokens_go_back(self, leaves_after: int) -> None:
        world = SlowWorld()
        budgets, limits = world.replica(replicas=2), BudgetLimits(6000, tokens=6000, slots=2)
        for _ in range(2):
            entering = asyncio.create_task(opened(budgets, limits, 100))
            await turns(leaves_after)
            if not entering.done():
                entering.cancel()
                await asyncio.wait([entering])
            if not entering.cancelled():
                entering.result().settle(0)
                await closed(entering.result())
        await turns()
        assert world.store is not None
        assert world.store.slots_held(world.now) == 0
        await budgets.tick()
        assert budgets.budget_status(KEY, limits).tokens <= 600
        for _ in range(2):
            await opened(budgets, limits, 300)

    async def test_a_grant_that_nobody_heard_of_is_free_again_within_a_second(self, world: World) -> None:
        limits, lost = BudgetLimits(6000, slots=1), []
        budgets, heir = world.replica(replicas=2), world.replica(replicas=2)
        await budgets.tick()

        async def admit(request: AdmissionRequest) -> Any:
            assert world.store is not None
            lost.append(world.store.admit(request, world.now))
            raise StoreUnreachableError

        budgets._link = type("Link", (), {"admit": staticmethod(admit), "join": world.join, "report": world.report})()
        assert not await admitted(budgets, limits)
        assert lost[0].refusal is None
        assert not await admitted(heir, limits)
        await budgets.tick()
        assert await admitted(heir, limits)


class TestRetirement:
    """Budgets that others have replaced end with what they admitted."""

    async def test_they_report_until_their_last_request_has_ended(self, world: World) -> None:
        limits = BudgetLimits(6000, tokens=6000, slots=1)
        before, after = world.replica(replicas=2), world.replica(replicas=3)
        stream = await opened(before, limits, 600)
        before.retire()
        keeper = asyncio.create_task(before.keep())
        await turns(40)
        assert world.now > ALIVE_TIME
        assert not await admitted(after, limits, 1)
        stream.settle(100)
        await closed(stream)
        await asyncio.wait_for(keeper, 1)
        assert await admitted(after, limits, 1)

    async def test_a_request_that_comes_late_is_admitted_and_reported(self, world: World) -> None:
        limits = BudgetLimits(6000, slots=1)
        budgets = world.replica(replicas=2)
        budgets.retire()
        await budgets.keep()
        stream = await opened(budgets, limits)
        world.now += 2 * ALIVE_TIME
        await turns()
        assert world.store is not None
        assert world.store.slots_held(world.now) == 1
        await closed(stream)
        await turns()
        assert world.store.slots_held(world.now) == 0
        assert not budgets._tasks

    async def test_they_lease_nothing_more(self, world: World) -> None:
        limits = BudgetLimits(60_000)
        budgets = world.replica()
        assert await admitted(budgets, limits)
        budgets.retire()
        await budgets.keep()
        assert await admitted(budgets, limits)
        assert world.store is not None
        assert world.store.leased(KEY, world.now) == (0, 0)

    async def test_a_request_of_the_process_s_own_account_is_settled_there(self, world: World) -> None:
        limits = BudgetLimits(6000, tokens=6000)
        before = ExactBudgets(world.clock)
        async with before.admit(KEY, limits, 600) as stream:
            before.retire()
            stream.settle(100)
        assert before.budget_status(KEY, limits).tokens == 500
