"""Budgets in several budget stores: each key is in one of them, and nothing else changes."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.budgets.account import BudgetLimits, Debt
from app.budgets.batches import Batches
from app.budgets.leased import LeasedBudgets
from app.budgets.messages import Join, JoinReply, Message, Reply, Report, Slots, UseReport
from app.budgets.shards import ONLY, Shard, ShardedBudgets, shards
from app.budgets.snapshot import COUNTS_SECONDS, read, write
from app.budgets.store import MEMORY, BudgetStore
from app.budgets.store_link import StoreUnreachableError
from contract.errors import ApiError
from tests.unit.budget_world import KEY, SECOND, World, admitted, turns

KEYS = [f"key{number:09d}" for number in range(200)]


class Worlds:
    """Several stores under one clock."""

    def __init__(self, number: int) -> None:
        self.now = 0
        self.worlds = [World() for _ in range(number)]

    def clock(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pass_time(int(seconds * SECOND) or 1)
        await asyncio.sleep(0)

    def pass_time(self, time: int) -> None:
        self.now += time
        for world in self.worlds:
            world.now = self.now

    def replica(self, replicas: int = 2) -> ShardedBudgets:
        return ShardedBudgets([LeasedBudgets(world, replicas, self.clock, self.sleep, 0) for world in self.worlds])


async def enter(budgets: Any, key: str, limits: BudgetLimits, tokens: int = 0) -> bool:
    try:
        await budgets.admit(key, limits, tokens).__aenter__()
    except ApiError:
        return False
    return True


class TestPlaces:
    @pytest.mark.parametrize("number", [1, 2, 7])
    def test_each_key_is_in_one_shard_and_all_shards_have_some(self, number: int) -> None:
        owners = [[shard for shard in shards(1, number) if shard.has(key)] for key in KEYS]
        assert all(len(found) == 1 for found in owners)
        assert len({found[0] for found in owners}) == number

    def test_a_place_is_the_same_in_every_process_and_version(self) -> None:
        """CRC-32's check value is 0xCBF43926, of these nine digits."""
        assert Shard(0xCBF43926 % 1000, 1000).has("123456789")

    def test_one_shard_has_the_names_that_there_were_without_shards(self) -> None:
        assert ONLY.name("budgets.json") == "budgets.json"
        assert Shard(1, 2).name("budgets.json") == "budgets.json.1-of-2"

    @pytest.mark.parametrize(("replicas", "expected"), [(2, 1), (50, 1), (51, 2), (200, 4)])
    def test_their_number_follows_the_gateway_s_replicas(self, replicas: int, expected: int) -> None:
        assert len(shards(replicas, None)) == expected
        assert len(shards(replicas, 3)) == 3


class TestShardedBudgets:
    async def test_the_stores_together_hold_every_key_once(self) -> None:
        worlds = Worlds(3)
        one, other = worlds.replica(), worlds.replica()
        for key in KEYS:
            assert await enter(one, key, BudgetLimits(20))
            assert await enter(other, key, BudgetLimits(20))
            assert not await enter(other, key, BudgetLimits(20)), "both replicas ask the same store"
        held = [world.store._accounts.keys() for world in worlds.worlds if world.store]
        assert sorted(key for keys in held for key in keys) == KEYS
        assert all(held)

    async def test_a_key_s_status_is_its_own_store_s(self) -> None:
        worlds = Worlds(3)
        budgets = worlds.replica()
        for key in KEYS[:10]:
            await enter(budgets, key, BudgetLimits(20))
        assert {budgets.budget_status(key, BudgetLimits(20)).requests for key in KEYS[:10]} == {1}

    async def test_a_store_that_is_away_is_missed_by_its_own_keys_only(self) -> None:
        worlds = Worlds(2)
        budgets, limits = worlds.replica(), BudgetLimits(20)
        assert not budgets.store_unreachable
        worlds.worlds[0].crash()
        outcomes = {key: await enter(budgets, key, limits) for key in KEYS[:20]}
        assert outcomes == {key: Shard(1, 2).has(key) for key in outcomes}
        assert budgets.store_unreachable

    async def test_all_leases_go_back_at_shutdown(self) -> None:
        worlds = Worlds(3)
        budgets, limits = worlds.replica(), BudgetLimits(60_000)
        for key in KEYS[:20]:
            assert await enter(budgets, key, limits)
        stores = [world.store for world in worlds.worlds if world.store]
        assert all(any(any(store.leased(key, 0)) for key in KEYS[:20]) for store in stores)
        await budgets.close()
        assert not any(any(store.leased(key, 0)) for key in KEYS[:20] for store in stores)

    async def test_their_keepers_end_when_they_are_retired_and_all_is_given_back(self) -> None:
        worlds = Worlds(3)
        budgets, limits = worlds.replica(), BudgetLimits(6000, slots=1)
        admissions = [budgets.admit(key, limits, 0) for key in KEYS[:10]]
        for admission in admissions:
            await admission.__aenter__()
        budgets.retire()
        keepers = [asyncio.create_task(part.keep()) for part in budgets.parts]
        await turns(40)
        assert not all(keeper.done() for keeper in keepers)
        for admission in admissions:
            await admission.__aexit__(None, None, None)
        await asyncio.wait_for(asyncio.gather(*keepers), 1)
        assert sum(world.store.slots_held(worlds.now) for world in worlds.worlds if world.store) == 0


class TestAnotherNumberOfShards:
    """New stores begin with what those of another number wrote."""

    @pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 5)])
    def test_every_debt_is_found_by_the_store_that_has_its_key_now(
        self, tmp_path: Path, before: int, after: int
    ) -> None:
        url = f"{tmp_path}/budgets.json"
        for shard in shards(1, before):
            write(shard.name(url), {key: Debt(0, 120 * SECOND) for key in KEYS if shard.has(key)})
        found = [read(url, shard) for shard in shards(1, after)]
        assert sorted(key for debts in found for key in debts or {}) == KEYS
        for shard, debts in zip(shards(1, after), found, strict=True):
            assert debts is not None
            assert all(shard.has(key) for key in debts)
            assert all(100 * SECOND < debt.tokens <= 120 * SECOND for debt in debts.values())

    def test_files_of_others_are_not_read(self, tmp_path: Path) -> None:
        for name in ("budgets.json.bak", "budgets.json.1-of-2.tmp", "other-budgets.json"):
            write(f"{tmp_path}/{name}", {KEY: Debt(0, 120 * SECOND)})
        assert read(f"{tmp_path}/budgets.json", ONLY) is None

    def test_one_that_cannot_be_read_does_not_hide_the_others(self, tmp_path: Path) -> None:
        url = f"{tmp_path}/budgets.json"
        write(Shard(0, 2).name(url), {KEYS[0]: Debt(0, 120 * SECOND)})
        Path(Shard(1, 2).name(url)).write_bytes(b"{")
        assert (read(url, ONLY) or {}).keys() == {KEYS[0]}

    def test_one_that_others_may_write_is_not_believed(self, tmp_path: Path) -> None:
        url = f"{tmp_path}/budgets.json"
        write(Shard(0, 2).name(url), {KEYS[0]: Debt(0, 120 * SECOND)})
        Path(Shard(0, 2).name(url)).chmod(0o666)
        assert read(url, ONLY) == {}, "what it would have said is unknown"

    def test_a_store_reads_its_own_where_the_others_cannot_be_listed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def ls(*_: Any, **__: Any) -> Any:
            raise PermissionError

        monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.ls", ls)
        url = f"{tmp_path}/budgets.json"
        assert read(url, ONLY) == {}, "others may be there"
        write(url, {KEYS[0]: Debt(0, 120 * SECOND)})
        assert (read(url, ONLY) or {}).keys() == {KEYS[0]}

    def test_old_ones_are_not_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        url = f"{tmp_path}/budgets.json"
        write(Shard(0, 2).name(url), {KEYS[0]: Debt(0, 120 * SECOND)})
        later = time.time() + COUNTS_SECONDS + 1
        monkeypatch.setattr("app.budgets.snapshot.time.time", lambda: later)
        assert read(url, ONLY) is None

    async def test_a_store_that_nobody_needs_any_more_can_end(self) -> None:
        world = World()
        assert await admitted(world.replica(), BudgetLimits(600))
        store = world.store
        assert store is not None
        for now, forgotten in ((SECOND, False), (MEMORY, False), (MEMORY + SECOND, True)):
            store.sweep(now)
            assert store.is_forgotten(now) == forgotten

    async def test_not_while_it_knows_of_a_debt(self) -> None:
        world = World()
        limits = BudgetLimits(6000, tokens=60)
        assert await admitted(world.replica(), limits, 1206)
        assert world.store is not None
        for now, forgotten in ((MEMORY + SECOND, False), (1300 * SECOND, True)):
            world.store.sweep(now)
            assert world.store.is_forgotten(now) == forgotten

    async def test_a_store_knows_that_its_replicas_went_elsewhere_while_they_still_report(self) -> None:
        world, limits = World(), BudgetLimits(600, slots=1)
        new = Join("new", 1, 2, False, Slots({}, frozenset()), [], {})
        one, other = world.replica(2), world.replica(2)
        async with one.admit(KEY, limits, 0):  # a long stream
            await other.tick()
            assert world.store is not None
            for budgets in (one, other):
                assert not world.store.was_left(new, world.now)
                budgets.retire()
                await budgets.tick()
            assert world.store.was_left(new, world.now)
            world.store.join(new, world.now)
            assert not world.store.was_left(new._replace(replica="another"), world.now)

    async def test_replicas_that_are_only_silent_did_not_go_elsewhere(self) -> None:
        world = World()
        await world.replica().tick()
        assert world.store is not None
        assert not world.store.was_left(Join("new", 1, 1, False, Slots({}, frozenset()), [], {}), 60 * SECOND)


def report(number: int) -> Report:
    return Report("one", number, Slots({}, frozenset()), None)


class SlowStore:
    """Keeps what is delivered until `release`; fails where it is told to."""

    def __init__(self) -> None:
        self.deliveries: list[list[Message]] = []
        self.gate = asyncio.Semaphore(0)
        self.error: BaseException | None = None

    async def deliver(self, messages: Sequence[Message]) -> Sequence[Reply | None]:
        self.deliveries.append(list(messages))
        await self.gate.acquire()
        if self.error is not None:
            raise self.error
        numbers = [message.number for message in messages if not isinstance(message, UseReport)]
        return [None if number < 0 else JoinReply(number % 2 == 0) for number in numbers]


class TestBatches:
    async def test_what_comes_during_a_call_goes_together_with_the_next_one(self) -> None:
        store = SlowStore()
        batches = Batches(store.deliver)
        first = asyncio.create_task(batches.send(report(1)))
        await turns()
        others = [asyncio.create_task(batches.send(report(number))) for number in range(2, 6)]
        await turns()
        assert store.deliveries == [[report(1)]], "one call at a time"
        store.gate.release()
        store.gate.release()
        replies = await asyncio.gather(first, *others)
        assert store.deliveries[1:] == [[report(number) for number in range(2, 6)]]
        assert replies == [JoinReply(number % 2 == 0) for number in range(1, 6)], "each its own reply"
        store.gate.release()
        await batches.send(report(6))
        assert store.deliveries[2:] == [[report(6)]]

    async def test_a_call_that_fails_fails_what_waits_for_it_too(self) -> None:
        """They are decided without the store then, and need not wait until the next call has failed."""
        store = SlowStore()
        batches = Batches(store.deliver)
        store.error = StoreUnreachableError()
        first = asyncio.create_task(batches.send(report(1)))
        await turns()
        second = asyncio.create_task(batches.send(report(2)))
        await turns()
        store.gate.release()
        for one in (first, second):
            with pytest.raises(StoreUnreachableError):
                await one
        assert store.deliveries == [[report(1)]]
        store.error = None
        store.gate.release()
        assert await batches.send(report(4)) == JoinReply(True)

    async def test_an_error_of_any_kind_reaches_who_waits(self) -> None:
        async def deliver(messages: Sequence[Message]) -> Sequence[Reply | None]:
            raise AttributeError("deliver")

        with pytest.raises(AttributeError):
            await asyncio.wait_for(Batches(deliver).send(report(1)), 5)

    async def test_a_call_that_is_lost_leaves_nobody_waiting(self) -> None:
        """Ray raises CancelledError for one, though nobody has cancelled it."""
        store = SlowStore()
        batches = Batches(store.deliver)
        store.error = asyncio.CancelledError()
        first = asyncio.create_task(batches.send(report(1)))
        await turns()
        second = asyncio.create_task(batches.send(report(2)))
        await turns()
        store.gate.release()
        for one in (first, second):
            with pytest.raises(StoreUnreachableError):
                await asyncio.wait_for(one, 5)
        store.error = None
        store.gate.release()
        assert await asyncio.wait_for(batches.send(report(4)), 5) == JoinReply(True)

    async def test_a_message_that_the_store_fails_at_fails_alone(self) -> None:
        store = SlowStore()
        batches = Batches(store.deliver)
        store.gate.release()
        bad, good = (asyncio.create_task(batches.send(report(number))) for number in (-1, 2))
        with pytest.raises(StoreUnreachableError):
            await bad
        assert await good == JoinReply(True)

    async def test_who_is_cancelled_leaves_the_others_their_replies(self) -> None:
        store = SlowStore()
        batches = Batches(store.deliver)
        gone = asyncio.create_task(batches.send(report(1)))
        stays = asyncio.create_task(batches.send(report(2)))
        await turns()
        gone.cancel()
        store.gate.release()
        assert await stays == JoinReply(True)
        assert store.deliveries == [[report(1), report(2)]]


def test_a_store_handles_each_kind_of_message() -> None:
    store = BudgetStore(0)
    assert store.handle(report(1), 0) is False
