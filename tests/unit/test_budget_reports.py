"""Reports of gateway replicas to the budget store: how often they come, what they leave there, and lost ones."""

import asyncio

import pytest

from app.budgets.account import BudgetLimits
from app.budgets.messages import LEASE_TIME, AdmissionRequest, Join, Report, Slots
from app.budgets.store import REJOIN_TIME
from tests.unit.budget_world import KEY, NO_SLOTS, SECOND, LossyWorld, SlowWorld, World, admitted, closed, opened, turns


@pytest.mark.parametrize(("replicas", "seconds"), [(1, 1), (200, 1), (400, 2), (1000, 2.5), (5000, 2.5)])
async def test_many_replicas_report_less_often_but_before_a_restarted_store_goes_on(
    replicas: int, seconds: float
) -> None:
    world = World()
    keeper = asyncio.create_task(world.replica(replicas).keep())
    while world.now < 100 * SECOND:
        await turns(1)
    keeper.cancel()
    assert world.calls - 2 == pytest.approx(100 / seconds, abs=1), "beside the join and the first report"
    assert seconds * SECOND < REJOIN_TIME


async def test_a_store_keeps_nothing_of_leases_that_have_expired() -> None:
    world, limits = World(), BudgetLimits(60_000)
    store = world.store
    assert store is not None
    budgets = world.replica()
    keys = [f"key{number:09d}" for number in range(20)]
    for key in keys:
        async with budgets.admit(key, limits, 0):
            world.now += SECOND // 10
    assert store._leases.keys() == set(keys)
    world.now = LEASE_TIME + SECOND
    store.sweep(world.now)
    assert store._leases.keys() == set(keys[11:]), "those of the first second and a tenth have expired"
    world.now += SECOND
    store.sweep(world.now)
    assert not store._leases
    assert not store._expiring


async def test_a_store_keeps_nothing_of_slots_that_are_free() -> None:
    world, limits = World(), BudgetLimits(6000, slots=3)
    one, other = world.replica(2), world.replica(2)
    store = world.store
    assert store is not None
    async with one.admit("key000000001", limits, 0), other.admit("key000000001", limits, 0):
        assert store._slot_holders == {"key000000001": {one.replica, other.replica}}
    await turns()
    assert store._slot_holders == {}


@pytest.mark.parametrize("loses", ["", "report", "reply"])
async def test_tokens_are_settled_once(loses: str) -> None:
    world = LossyWorld()
    budgets, limits = world.replica(), BudgetLimits(6000, tokens=6000, slots=2)
    assert world.store is not None
    admissions = [await opened(budgets, limits, 250) for _ in range(2)]
    world.loses = loses
    for admission in admissions:
        admission.settle(50)
        await closed(admission)
    await turns()
    for _ in range(3):
        await budgets.tick()
    for report in reversed(world.reports):  # all of them again, the oldest last
        world.store.report(report, world.now)
    assert world.store._accounts[KEY].budget_status(world.now).tokens == 500


@pytest.mark.parametrize("loses", ["", "report", "reply"])
async def test_a_lease_goes_back_once(loses: str) -> None:
    world = LossyWorld()
    budgets, limits = world.replica(), BudgetLimits(60_000)
    assert world.store is not None
    assert await admitted(budgets, limits)
    world.now += 3 * SECOND
    world.loses = loses
    for _ in range(3):
        await budgets.tick()
    assert await admitted(budgets, limits)
    for report in world.reports:
        world.store.report(report, world.now)
    status = world.store._accounts[KEY].budget_status(world.now)
    assert status.requests + world.store.leased(KEY, world.now).requests == 5999


async def test_a_report_takes_no_slot_from_a_request_whose_answer_is_under_way() -> None:
    world = World()
    assert world.store is not None
    world.store.join(Join("one", 1, 1, False, NO_SLOTS, [], {}), 0)
    world.store.admit(AdmissionRequest("one", 2, KEY, BudgetLimits(600, slots=2), True, 0, None), 0)
    world.store.admit(AdmissionRequest("one", 4, KEY, BudgetLimits(600, slots=2), True, 0, None), 0)
    world.store.report(Report("one", 3, Slots({}, frozenset({2})), None), 0)
    assert world.store.slots_held(0) == 2
    world.store.report(Report("one", 6, Slots({KEY: frozenset({2})}, frozenset()), None), 0)
    world.store.report(Report("one", 5, Slots({KEY: frozenset({2, 4})}, frozenset()), None), 0)
    assert world.store.slots_held(0) == 1, "the report of before changes nothing"


async def test_many_ends_at_once_make_few_reports() -> None:
    world = SlowWorld()
    budgets, limits = world.replica(), BudgetLimits(60_000, slots=100)
    admissions = [await opened(budgets, limits) for _ in range(100)]
    calls = world.calls
    for admission in admissions:
        await closed(admission)
    await turns()
    assert world.store is not None
    assert world.store.slots_held(world.now) == 0
    assert world.calls - calls <= 2


async def test_keeping_goes_on_after_a_fault() -> None:
    budgets = World().replica()
    link, budgets._link = budgets._link, object()  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        await budgets.keep()
    budgets._link = link
    budgets.retire()
    await budgets.keep()
