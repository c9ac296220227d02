"""The service on three machines under a steady mixed load: one of them fails or ends, or all of it is upgraded."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.cluster.clustered_system import ClusteredSystem, three_machines
from tests.cluster.upgrade import measured_upgrade
from tests.reliability.conftest import FAULT_SECONDS
from tests.reliability.measuring import assert_books_and_leaks, assert_unharmed, under_load
from tests.reliability.outcomes import Verdict
from tests.reliability.system import CONTROLLER, GATEWAY, System, replica_of

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(FAULT_SECONDS)]
CLOSED_SECONDS = 3.0  # in which the connections to a machine that died are closed
AWAY_SECONDS = 20.0  # of the head
REPLICA = "ray::ServeReplica:"
HAS_REDIS = shutil.which("redis-server") is not None


@pytest.fixture(scope="module")
def running() -> Iterator[ClusteredSystem]:
    with three_machines(redis=HAS_REDIS) as system:
        yield system


@pytest.fixture
async def system(running: ClusteredSystem) -> AsyncIterator[ClusteredSystem]:
    """The service, whole; a test that has broken it does not break the next."""
    await running.wait_whole()
    yield running
    await running.wait_whole()


async def kill_a_node(system: System) -> None:
    """A worker loses its power; another joins in its place."""
    assert isinstance(system, ClusteredSystem)
    lost = system.other
    assert lost.runs(REPLICA)
    had_gateway = lost.runs(replica_of(GATEWAY))
    lost.kill()
    system.gateway_died_at = time.monotonic() if had_gateway else None
    system.machines.workers.remove(lost)
    system.machines.join()
    await system.wait_here(system.other, "ray::HAProxyManager")


async def test_a_killed_node_costs_what_it_had_and_another_takes_its_place(system: ClusteredSystem) -> None:
    measured = await under_load(system, "a node is killed, another joins", kill_a_node)
    lost = measured.by_verdict(Verdict.LOST)
    assert all(one.sent < measured.struck_at + CLOSED_SECONDS for one in lost), measured.bad()
    assert all(one.ended < measured.struck_at + 2 * CLOSED_SECONDS for one in lost), measured.bad()
    assert_books_and_leaks(measured)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{system.other.port}") as client:
        assert (await client.get("/ready")).status_code == 200


async def kill_the_head(system: System) -> None:
    """It loses its power, and another takes its place with the Redis of before."""
    assert isinstance(system, ClusteredSystem)
    system.machines.head.kill()
    await asyncio.sleep(AWAY_SECONDS)
    await asyncio.to_thread(system.machines.start_head)
    await asyncio.to_thread(system.rejoin)


@pytest.mark.skipif(not HAS_REDIS, reason="redis-server is not installed")
async def test_a_head_that_comes_back_from_redis_costs_nothing(system: ClusteredSystem) -> None:
    before = system.scaled.status()
    assert_unharmed(await under_load(system, "the head is killed, and comes back from Redis", kill_the_head))
    assert {name: len(one["replicas"]) for name, one in system.scaled.status().items()} == {
        name: len(one["replicas"]) for name, one in before.items()
    }
    assert system.machines.head.runs(CONTROLLER)


async def test_an_upgrade_of_the_whole_service_costs_nothing(system: ClusteredSystem) -> None:
    """After the head's return: what is deployed then is followed."""
    assert_unharmed(await measured_upgrade(system))


async def end_a_node(system: System) -> None:
    """SIGTERM for a worker, which hands its work to others first; another joins in its place."""
    assert isinstance(system, ClusteredSystem)
    ending = system.other
    assert ending.runs(REPLICA)
    system.machines.join()  # without a replica so far, and so without a HAProxy
    await asyncio.to_thread(system.machines.wait_joined)
    ending.terminate()
    assert await system.not_ready_until(system.ended(ending)) == set()
    system.node_ended = True
    system.machines.workers.remove(ending)


async def test_a_node_that_is_told_to_end_costs_nothing(system: ClusteredSystem) -> None:
    assert_unharmed(await under_load(system, "a node is told to end (SIGTERM)", end_a_node))
