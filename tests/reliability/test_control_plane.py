"""What only keeps accounts and watches over replicas dies: no request fails because of it."""

import asyncio

from tests.reliability.measuring import assert_unharmed, under_load
from tests.reliability.system import CONTROLLER, STORE, System


async def kill_the_budget_store(system: System) -> None:
    """Twice: it comes back by itself."""
    for _ in range(2):
        system.kill(STORE)
        async with asyncio.timeout(30):
            while len(system.running(STORE)) < system.stores():
                await asyncio.sleep(0.2)


async def kill_the_controller(system: System) -> None:
    system.kill(CONTROLLER)


async def test_a_killed_budget_store_costs_nothing(system: System) -> None:
    assert_unharmed(await under_load(system, "the budget store is killed", kill_the_budget_store))


async def test_a_killed_controller_costs_nothing_and_the_next_keeps_every_replica(system: System) -> None:
    before = {one.pid for one in system.running("ray::ServeReplica:")}
    measured = await under_load(system, "Serve's controller is killed", kill_the_controller)
    assert {one.pid for one in system.running("ray::ServeReplica:")} == before
    assert_unharmed(measured)
