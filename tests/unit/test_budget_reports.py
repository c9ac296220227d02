"""How often gateway replicas report to the budget store, and what a store keeps of what they had."""

import asyncio

import pytest

from app.budgets.account import BudgetLimits
from app.budgets.messages import LEASE_TIME
from app.budgets.store import REJOIN_TIME
from tests.unit.budget_world import SECOND, World, turns


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
