"""Budget stores as actors on real Ray: another number of them, and the end of those that nobody needs any more."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from ray.exceptions import ActorDiedError

from app.budgets.account import BudgetLimits
from app.budgets.actor import NAME, NAMESPACE, ActorLink, BudgetStoreActor
from app.budgets.admission import RateLimited
from app.budgets.leased import LeasedBudgets
from app.budgets.shards import ONLY, ShardedBudgets, shards
from app.budgets.snapshot import read
from app.budgets.store import BudgetStore

KEYS = [f"key{number:09d}" for number in range(8)]
LIMITS = BudgetLimits(6000, tokens=6000)
SECONDS = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    address = os.environ.pop("RAY_ADDRESS", None)
    ray.init(num_cpus=1, include_dashboard=False, logging_level="error", log_to_driver=False)
    yield
    ray.shutdown()
    if address is not None:
        os.environ["RAY_ADDRESS"] = address


def replica(url: str, stores: int) -> ShardedBudgets:
    return ShardedBudgets([LeasedBudgets(ActorLink(url, shard), 2) for shard in shards(2, stores)])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.1)


@pytest.mark.long
async def test_another_number_of_stores_forgets_no_debt(cluster: None, tmp_path: Path) -> None:
    url = f"{tmp_path}/budgets.json"
    before = replica(url, 2)
    for key in KEYS:
        async with before.admit(key, LIMITS, 60_000):  # ten times what a minute gains
            pass
    await until(lambda: (read(url, ONLY) or {}).keys() == set(KEYS))
    after = replica(url, 3)
    for key in KEYS:
        with pytest.raises(RateLimited, match="tokens"):
            await after.admit(key, LIMITS, 1).__aenter__()
    async with asyncio.timeout(SECONDS), after.admit("key999999999", LIMITS, 1):
        pass  # its account began empty; it waits until there is something in it
    names = {
        actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True) if actor["namespace"] == NAMESPACE
    }
    assert names == {shard.name(NAME) for number in (2, 3) for shard in shards(2, number)}
    await before.close()
    await after.close()


class Forgotten(BudgetStore):
    """As if ten minutes had passed without any replica."""

    def is_forgotten(self, now: int) -> bool:
        return True


class ForgottenActor(BudgetStoreActor):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._store = Forgotten(time.monotonic_ns())

    async def answers(self) -> bool:
        return True


async def test_a_store_that_nobody_needs_ends_and_stays_away(cluster: None, tmp_path: Path) -> None:
    actor = ray.remote(ForgottenActor).options(num_cpus=0, max_restarts=-1).remote(f"{tmp_path}/budgets.json")

    async def until_it_ends() -> None:
        await actor.deliver.remote([])  # starts its loop
        while await actor.answers.remote():
            await asyncio.sleep(0.1)

    with pytest.raises(ActorDiedError):
        await asyncio.wait_for(until_it_ends(), SECONDS)
    with pytest.raises(ActorDiedError):  # and is not restarted
        await actor.answers.remote()
