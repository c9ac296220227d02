"""The budget store's actor and the way to it, without Ray."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from app import own_node
from app.budgets import actor, use_snapshot
from app.budgets.account import BudgetLimits, Debt
from app.budgets.actor import ActorLink, BudgetStoreActor
from app.budgets.messages import (
    AccountUse,
    AdmissionReply,
    AdmissionRequest,
    Join,
    JoinReply,
    Message,
    Report,
    Slots,
    UseReply,
    UseReport,
)
from app.budgets.monthly_use import UseState
from app.budgets.shards import ONLY
from app.budgets.snapshot import write
from app.budgets.store_link import StoreUnreachableError
from app.budgets.use import Use
from tests.unit.budget_world import KEY, SECOND

NOTHING = Slots({}, frozenset())
TEAM, MONTH = "team:acme", "2026-11"


class Handle:
    """An actor's handle."""

    def __init__(self, deliver: Callable[[Any], Awaitable[Any]]) -> None:
        self.deliver = self
        self.remote = deliver


class OldHandle:
    """That of an actor without such a method."""


def report(replica: str = "one", number: int = 1) -> Report:
    return Report(replica, number, NOTHING, None)


def join(replica: str, number: int = 1, retires: bool = False) -> Join:
    return Join(replica, number, 1, retires, NOTHING, [], {})


class TestLink:
    @pytest.mark.parametrize("error", [asyncio.CancelledError(), AttributeError(), TypeError()], ids=repr)
    async def test_whatever_a_call_raises_the_store_is_unreachable(self, error: BaseException) -> None:
        """Ray raises CancelledError for a call that it has lost."""
        errors = [error]

        async def deliver(messages: Any) -> Any:
            if errors:
                raise errors.pop()
            return [True for _ in messages]

        link = ActorLink("budgets.json")
        link._actor = Handle(deliver)
        with pytest.raises(StoreUnreachableError):
            await asyncio.wait_for(link.report(report()), 5)
        assert await asyncio.wait_for(link.report(report()), 5)

    async def test_an_actor_of_another_kind_is_unreachable(self) -> None:
        link = ActorLink("budgets.json")
        link._actor = OldHandle()
        with pytest.raises(StoreUnreachableError):
            await asyncio.wait_for(link.report(report()), 5)

    async def test_who_is_cancelled_stays_cancelled(self) -> None:
        async def deliver(_: Any) -> Any:
            await asyncio.Event().wait()

        link = ActorLink("budgets.json")
        link._actor = Handle(deliver)
        task = asyncio.create_task(link._deliver([report()]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each time that an actor ended itself."""
    found: list[None] = []
    monkeypatch.setattr(actor, "_end", lambda: found.append(None))
    monkeypatch.setattr(actor, "_was_restarted", lambda: False)
    monkeypatch.setattr(own_node, "is_draining", lambda: False)
    return found


async def delivered(store: BudgetStoreActor, *messages: Message) -> list[Any]:
    replies = await store.deliver(messages)
    assert store._keeping is not None
    return replies


class TestUncalled:
    """Ray restarts an actor whether anybody needs it or not."""

    async def test_one_that_nobody_calls_ends(
        self, ends: list[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(actor, "UNCALLED_SECONDS", 0.01)
        BudgetStoreActor(f"{tmp_path}/budgets.json")
        await asyncio.sleep(0.1)
        assert ends == [None]

    async def test_one_that_was_called_goes_on(
        self, ends: list[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(actor, "UNCALLED_SECONDS", 0.05)
        store = BudgetStoreActor(f"{tmp_path}/budgets.json")
        await delivered(store)
        await asyncio.sleep(0.15)
        assert ends == []
        assert store._keeping is not None
        store._keeping.cancel()


async def test_a_store_whose_node_is_to_end_fails_so_that_ray_starts_it_on_another(
    ends: list[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()
    draining = [False]
    monkeypatch.setattr(actor, "_fail", failed.set)
    monkeypatch.setattr(actor, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(own_node, "is_draining", lambda: draining[0])
    store = BudgetStoreActor(f"{tmp_path}/budgets.json")
    await delivered(store)
    await asyncio.sleep(0.1)
    assert not failed.is_set()
    draining[0] = True
    await asyncio.wait_for(failed.wait(), 5)
    assert ends == [], "Ray restarts none that ended itself"
    assert store._keeping is not None
    store._keeping.cancel()


async def test_a_store_that_was_left_and_is_joined_again_begins_again(ends: list[None], tmp_path: Path) -> None:
    """Its replicas went to another number of stores, and came back: what they did there is in those stores' files."""
    url, limits = f"{tmp_path}/budgets.json", BudgetLimits(60, tokens=60)

    async def reply(replica: str, number: int) -> AdmissionReply:
        request = AdmissionRequest(replica, number, KEY, limits, True, 1, None)
        (answer,) = await store.deliver([request])
        assert isinstance(answer, AdmissionReply)
        return answer

    store = BudgetStoreActor(url)
    await delivered(store, join("old"))
    assert (await reply("old", 2)).refusal is None
    assert await delivered(store, join("new")) == [JoinReply(False)]
    assert (await reply("new", 2)).refusal is None, "one more is no reason"
    await delivered(store, join("old", 3, retires=True), join("new", 3, retires=True))
    write(f"{url}.0-of-3", {KEY: Debt(0, 120 * SECOND)})
    assert await delivered(store, join("newest")) == [JoinReply(False)]
    assert store._store.debts(time.monotonic_ns())[KEY].tokens > 100 * SECOND
    assert (await reply("newest", 2)).refusal is not None
    assert await delivered(store, report("old", 4)) == [False], "who retires joins again"
    assert await delivered(store, join("old", 5, retires=True), report("old", 6)) == [JoinReply(False), True]
    before = store._store
    await delivered(store, join("another"))
    assert store._store is before, "once is enough"
    assert store._keeping is not None
    store._keeping.cancel()


async def settled(store: BudgetStoreActor, tokens: int) -> Use:
    """The total of a team's month, once a replica has settled these tokens."""
    report = UseReport("one", {TEAM: AccountUse({MONTH: Use(tokens)}, None)})
    (reply,) = await store.deliver([report])
    assert isinstance(reply, UseReply)
    return reply.totals[TEAM][MONTH]


class TestMonthlyUse:
    @pytest.fixture(autouse=True)
    def _writes_often(self, ends: list[None], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(actor, "SNAPSHOT_SECONDS", 0.01)

    async def written(self, url: str, tokens: int) -> None:
        async with asyncio.timeout(5):
            while use_snapshot.read(url, ONLY).totals.get(TEAM, {}).get(MONTH) != Use(tokens):
                await asyncio.sleep(0.01)

    async def test_a_store_that_restarts_goes_on_where_the_last_snapshot_was(self, tmp_path: Path) -> None:
        url = f"{tmp_path}/budgets.json"
        before = BudgetStoreActor(url)
        assert await settled(before, 100) == Use(100)
        await self.written(url, 100)
        assert before._keeping is not None
        before._keeping.cancel()
        assert await settled(BudgetStoreActor(url), 130) == Use(130), "the replica lives, and said 100 before"

    async def test_what_cannot_be_read_yet_is_not_overwritten(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = f"{tmp_path}/budgets.json"
        use_snapshot.write(url, use_snapshot.content_of(UseState({TEAM: {MONTH: Use(100)}})))
        read = use_snapshot.read
        tries: list[None] = []

        def fails(*_: Any) -> Any:
            tries.append(None)
            raise OSError("the bucket does not answer")

        monkeypatch.setattr(use_snapshot, "read", fails)
        store = BudgetStoreActor(url)
        assert await settled(store, 7) == Use(7)
        async with asyncio.timeout(5):
            while len(tries) < 3:
                await asyncio.sleep(0.01)
        assert read(url, ONLY).totals[TEAM][MONTH] == Use(100)
        monkeypatch.setattr(use_snapshot, "read", read)
        await self.written(url, 107)
        assert await settled(store, 8) == Use(108)
        assert store._keeping is not None
        store._keeping.cancel()


def test_without_ray_no_node_is_to_end_and_none_is_started_to_ask() -> None:
    assert not own_node.is_draining()
    assert not ray.is_initialized()
