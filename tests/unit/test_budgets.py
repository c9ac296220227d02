"""Budgets over N ingress replicas: never more than the exact bucket and 1 %, whatever dies and whenever."""

import asyncio
from typing import Any

import pytest

from app.budgets.account import Terms
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
        terms = Terms(600)
        assert [await admitted(budgets, terms) for _ in range(61)] == [True] * 60 + [False]
        world.now += SECOND // 10
        assert [await admitted(budgets, terms) for _ in range(2)] == [True, False]

    async def test_retry_after_is_true(self, world: World, budgets: Any) -> None:
        terms = Terms(6)
        assert await admitted(budgets, terms)
        with pytest.raises(ApiError) as caught:
            await budgets.admit(KEY, terms, 0)
        assert caught.value.retry_after == 10
        world.now += 10 * SECOND
        assert await admitted(budgets, terms)

    async def test_tokens_are_reserved_and_settled(self, world: World, budgets: Any) -> None:
        terms = Terms(6000, tokens=1000)
        first = await budgets.admit(KEY, terms, 90)
        with pytest.raises(ApiError, match="1000 tokens a minute"):
            await budgets.admit(KEY, terms, 20)
        first.settle(10)
        first.settle(0)  # a second time changes nothing
        if isinstance(budgets, LeasedBudgets):
            await budgets.tick()  # a report takes it to the bank
        await budgets.admit(KEY, terms, 80)

    async def test_slots_come_back(self, budgets: Any, world: World) -> None:
        terms = Terms(6000, slots=2)
        first, _ = await budgets.admit(KEY, terms, 0), await budgets.admit(KEY, terms, 0)
        with pytest.raises(ApiError, match="2 requests under way"):
            await budgets.admit(KEY, terms, 0)
        first.settle(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        world.now += SECOND
        await budgets.admit(KEY, terms, 0)

    async def test_two_keys_share_nothing(self, budgets: Any) -> None:
        assert await admitted(budgets, Terms(1))
        await budgets.admit("key000000001", Terms(1), 0)

    async def test_the_standing_follows(self, world: World, budgets: Any) -> None:
        terms = Terms(600, tokens=6000)
        assert budgets.standing(KEY, terms)[1:] == (60, 0, 600, 0)
        for _ in range(30):
            await budgets.admit(KEY, terms, 10)
        world.now += SECOND
        standing = budgets.standing(KEY, terms)
        assert (standing.requests, standing.tokens) == (40, 400)
        assert standing.requests_full_in <= 3 * SECOND


class TestLeases:
    async def test_the_common_path_asks_nobody(self, world: World) -> None:
        budgets, terms = world.replica(), Terms(60_000)
        assert await admitted(budgets, terms)
        calls = world.calls
        assert all([await admitted(budgets, terms) for _ in range(299)])
        assert world.calls == calls

    async def test_it_is_filled_up_ahead_of_need(self, world: World) -> None:
        budgets, terms = world.replica(), Terms(60_000)
        calls = []
        for _ in range(3000):
            assert await admitted(budgets, terms)
            await asyncio.sleep(0)
            calls.append(world.calls)
        assert calls[-1] < 15

    async def test_requests_at_once_start_one_question_about_the_slice(self, world: World) -> None:
        """Two would each get a slice, and the bank would know of one."""
        budgets, terms = world.replica(), Terms(60_000)
        await admitted(budgets, terms)
        calls = world.calls
        for _ in range(400):  # beyond the mark where more is asked for, without a pause in which it could come
            await budgets.admit(KEY, terms, 0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert world.calls == calls + 1

    async def test_a_replica_that_many_requests_introduce_at_once_joins_once(self) -> None:
        world = SlowWorld()
        budgets, terms = world.replica(), Terms(60_000, slots=50)
        await asyncio.gather(*(budgets.admit(KEY, terms, 0) for _ in range(20)))
        assert world.bank is not None
        assert world.bank.under_way() == 20

    async def test_a_small_limit_is_asked_for_each_time(self, world: World) -> None:
        budgets, terms = world.replica(replicas=3), Terms(299)
        await admitted(budgets, terms)
        calls = world.calls
        await admitted(budgets, terms)
        assert world.calls == calls + 1
        assert world.bank is not None
        assert world.bank.outstanding(KEY, world.now) == (0, 0)

    async def test_a_refusal_is_remembered_for_as_long_as_it_holds(self, world: World) -> None:
        budgets, terms = world.replica(), Terms(60)
        while await admitted(budgets, terms):
            pass
        calls = world.calls
        for _ in range(9):
            world.now += SECOND // 10
            assert not await admitted(budgets, terms)
        assert world.calls == calls
        world.now += SECOND // 10
        assert await admitted(budgets, terms)

    async def test_an_idle_slice_goes_back(self, world: World) -> None:
        budgets, terms = world.replica(), Terms(60_000)
        await admitted(budgets, terms)
        assert world.bank is not None
        assert world.bank.outstanding(KEY, world.now).requests == 600
        world.now += 3 * SECOND
        await budgets.tick()
        assert world.bank.outstanding(KEY, world.now).requests == 0

    async def test_a_slice_that_has_expired_is_not_spent(self, world: World) -> None:
        budgets, terms = world.replica(), Terms(60_000)
        await admitted(budgets, terms)
        world.now += LEASE
        calls = world.calls
        await admitted(budgets, terms)
        assert world.calls > calls

    async def test_what_is_left_of_a_slice_that_has_expired_does_not_come_back(self, world: World) -> None:
        """The bank let others have it meanwhile."""
        assert world.bank is not None
        world.bank.join(Join("one", 1, {}, []), 0)
        answer = world.bank.answer(Ask("one", KEY, Terms(60_000), True, 0, Held()), 0)
        assert answer.added.requests == 600
        while not world.bank.answer(Ask("one", KEY, Terms(60_000), True, 0, None), LEASE).refusal:
            pass
        world.bank.report(Report("one", {}, {}, {KEY: answer.added}), LEASE)
        assert world.bank.answer(Ask("one", KEY, Terms(60_000), True, 0, None), LEASE).refusal

    async def test_all_slices_go_back_at_shutdown(self, world: World) -> None:
        budgets, terms = world.replica(), Terms(60_000)
        await admitted(budgets, terms)
        await budgets.close()
        assert world.bank is not None
        assert world.bank.outstanding(KEY, world.now).requests == 0

    async def test_slices_of_all_replicas_are_at_most_a_hundredth(self, world: World) -> None:
        terms = Terms(60_000)
        for _ in range(5):  # two more than were announced, as in a rolling update
            await admitted(world.replica(replicas=3), terms)
        assert world.bank is not None
        assert world.bank.outstanding(KEY, world.now).requests <= 600


class TestDeaths:
    async def test_a_dead_replica_loses_its_slice_and_its_slots_until_they_expire(self, world: World) -> None:
        dead, heir = world.replica(), world.replica()
        await dead.admit(KEY, Terms(60_000), 0)
        await dead.admit("key000000001", Terms(600, slots=1), 0)
        with pytest.raises(ApiError):
            await heir.admit("key000000001", Terms(600, slots=1), 0)
        world.now += max(LEASE, SESSION) + 1
        assert world.bank is not None
        world.bank.sweep(world.now)
        assert world.bank.outstanding(KEY, world.now) == (0, 0)
        assert world.bank.under_way() == 0
        await heir.admit("key000000001", Terms(600, slots=1), 0)

    async def test_slices_outlive_the_bank(self, world: World) -> None:
        budgets, terms = world.replica(), Terms(60_000)
        await admitted(budgets, terms)
        world.crash()
        assert all([await admitted(budgets, terms) for _ in range(599)])

    async def test_then_comes_the_local_share(self, world: World) -> None:
        budgets, terms = world.replica(replicas=3), Terms(180)
        await admitted(budgets, terms)
        world.crash()
        assert not await admitted(budgets, terms)
        world.now += 2 * SECOND  # a third of the limit: one a second
        assert [await admitted(budgets, terms) for _ in range(3)] == [True, True, False]

    async def test_a_limit_that_cannot_be_shared_waits_for_the_bank(self, world: World) -> None:
        """One request at a time for three replicas: each would let one through."""
        budgets, terms = world.replica(replicas=3), Terms(6)
        world.crash()
        world.now += MINUTE
        assert not await admitted(budgets, terms)
        assert budgets.bank_is_away
        world.restart()
        world.now += MINUTE
        assert await admitted(budgets, terms)
        assert not budgets.bank_is_away

    async def test_a_request_waits_for_a_bank_that_comes_back(self, world: World) -> None:
        budgets, terms = world.replica(patience=10 * SECOND), Terms(60)
        for _ in range(3):
            assert await admitted(budgets, terms)
        world.crash()
        began = world.now

        async def sleep(seconds: float) -> None:
            await world_sleep(seconds)
            if world.bank is None and world.now > began + SECOND // 2:
                world.restart()

        world_sleep, budgets._sleep = world.sleep, sleep
        assert await admitted(budgets, terms), "no request fails because the bank did"
        assert world.now > began

    async def test_a_bank_that_restarted_knows_what_is_under_way(self, world: World) -> None:
        budgets, terms = world.replica(patience=SECOND), Terms(6000, slots=1)
        held = await budgets.admit(KEY, terms, 0)
        world.restart()
        await budgets.tick()
        world.now += SECOND
        with pytest.raises(ApiError, match="under way"):
            await budgets.admit(KEY, terms, 0)
        held.settle(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await budgets.admit(KEY, terms, 0)

    async def test_debts_outlive_the_bank(self, world: World) -> None:
        budgets, terms = world.replica(), Terms(6000, tokens=60)
        await budgets.admit(KEY, terms, 126)
        assert world.bank is not None
        debts = world.bank.debts(world.now)
        assert debts == {KEY: (0, 120)}
        world.restart(debts)
        world.now += 119 * SECOND
        assert not await admitted(budgets, terms, 1)
        world.now += 3 * SECOND
        assert await admitted(budgets, terms, 1)
