"""What teams use in a month: counted once, whatever becomes of reports, replicas and the budget store."""

import asyncio
from collections import defaultdict
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.budgets import use_snapshot
from app.budgets.messages import SECOND, UseReply, UseReport
from app.budgets.monthly_use import MEMORY, MonthlyUse, UseState
from app.budgets.shards import ONLY, Shard
from app.budgets.store import BudgetStore
from app.budgets.store_link import StoreUnreachableError
from app.budgets.use import Use, end_of_month, month_of
from app.budgets.use_book import UseBook
from tests.unit.budget_world import World

TEAM, OTHER = "team:acme", "team:other"
NOVEMBER, DECEMBER = "2026-11", "2026-12"


class LossyWorld(World):
    """Reports of use arrive, or not; so do their replies."""

    def __init__(self) -> None:
        super().__init__()
        self.loses = ""  # "report" or "reply" of the next
        self.reports: list[UseReport] = []

    async def use(self, report: UseReport) -> UseReply:
        loses, self.loses = self.loses, ""
        if loses == "report":
            raise StoreUnreachableError
        self.reports.append(report)
        reply = await super().use(report)
        if loses == "reply":
            raise StoreUnreachableError
        return reply

    def total(self, account: str = TEAM, month: str = NOVEMBER) -> Use:
        assert self.store is not None
        return self.store.monthly_use.state.totals.get(account, {}).get(month, Use())

    def restore(self, state: UseState) -> None:
        """Another store, from a snapshot."""
        self.store = BudgetStore(self.now, fresh=False, monthly_use=MonthlyUse(deepcopy(state), self.now))


def book_of(world: World) -> UseBook:
    book = UseBook([world])
    book.follow([TEAM], [world])
    return book


@pytest.fixture
def world() -> LossyWorld:
    return LossyWorld()


class TestMonths:
    @pytest.mark.parametrize(
        ("moment", "month", "end"),
        [
            (1_796_083_199, "2026-11", "2026-12-01"),
            (1_796_083_200, "2026-12", "2027-01-01"),
            (0, "1970-01", "1970-02-01"),
        ],
    )
    def test_they_are_those_of_utc(self, moment: int, month: str, end: str) -> None:
        assert (month_of(moment), f"{end_of_month(moment):%Y-%m-%d}") == (month, end)


class TestOneStore:
    async def test_two_replicas_know_what_both_have_settled(self, world: LossyWorld) -> None:
        one, two = book_of(world), book_of(world)
        one.count(TEAM, NOVEMBER, Use(100, 7))
        await one.exchange()
        await two.exchange()
        two.count(TEAM, NOVEMBER, Use(20))
        assert (one.total(TEAM, NOVEMBER), two.total(TEAM, NOVEMBER)) == (Use(100, 7), Use(120, 7))
        await two.exchange()
        await one.exchange()
        assert one.total(TEAM, NOVEMBER) == world.total() == Use(120, 7)

    @pytest.mark.parametrize("loses", ["report", "reply"])
    async def test_a_report_that_is_lost_is_made_up_for_by_the_next(self, world: LossyWorld, loses: str) -> None:
        book = book_of(world)
        await book.exchange()
        book.count(TEAM, NOVEMBER, Use(100))
        world.loses = loses
        await book.exchange()
        book.count(TEAM, NOVEMBER, Use(1))
        await book.exchange()
        assert book.total(TEAM, NOVEMBER) == world.total() == Use(101)

    async def test_one_that_comes_again_or_late_counts_nothing(self, world: LossyWorld) -> None:
        book = book_of(world)
        for _ in range(3):
            book.count(TEAM, NOVEMBER, Use(10, 10))
            await book.exchange()
        for late in world.reports[::-1]:
            await world.use(late)
        assert world.total() == Use(30, 30)

    async def test_a_month_begins_with_nothing_and_the_one_before_stays(self, world: LossyWorld) -> None:
        book = book_of(world)
        book.count(TEAM, NOVEMBER, Use(100))
        await book.exchange()
        assert book.total(TEAM, DECEMBER) == Use()
        book.count(TEAM, DECEMBER, Use(5))
        book.count(TEAM, NOVEMBER, Use(1))  # a request that began before
        await book.exchange()
        assert (world.total(), world.total(month=DECEMBER)) == (Use(101), Use(5))

    async def test_old_months_are_forgotten(self, world: LossyWorld) -> None:
        book = book_of(world)
        for month in range(1, 10):
            book.count(TEAM, f"2026-{month:02}", Use(1))
            await book.exchange()
        assert world.store is not None
        assert list(world.store.monthly_use.state.totals[TEAM]) == ["2026-07", "2026-08", "2026-09"]
        assert len(world.reports[-1].use[TEAM].own) == 3

    async def test_accounts_are_apart(self, world: LossyWorld) -> None:
        book = book_of(world)
        book.count(OTHER, NOVEMBER, Use(100))
        await book.exchange()
        assert (world.total(), world.total(OTHER)) == (Use(), Use(100))

    async def test_a_store_that_hears_of_use_is_needed(self, world: LossyWorld) -> None:
        """With one gateway replica nobody joins it."""
        store = world.store
        assert store is not None
        await book_of(world).exchange()
        world.now = 2 * MEMORY
        assert not store.is_forgotten(world.now)
        store.sweep(world.now)
        assert store.is_forgotten(world.now)


class TestUnreachable:
    async def test_a_replica_goes_on_with_what_it_knows(self, world: LossyWorld) -> None:
        one, two = book_of(world), book_of(world)
        one.count(TEAM, NOVEMBER, Use(100))
        await one.exchange()
        await two.exchange()
        world.crash()
        two.count(TEAM, NOVEMBER, Use(5))
        await two.exchange()
        assert two.total(TEAM, NOVEMBER) == Use(105)

    async def test_one_that_has_just_begun_knows_nothing_and_waits_for_nobody(self, world: LossyWorld) -> None:
        book = book_of(world)
        assert not book.is_known(TEAM)
        world.crash()
        await book.exchange()
        assert book.is_known(TEAM)
        assert book.total(TEAM, NOVEMBER) == Use()

    def test_without_stores_it_is_alone(self) -> None:
        book = UseBook()
        book.count(TEAM, NOVEMBER, Use(3))
        assert book.is_known(TEAM)
        assert book.total(TEAM, NOVEMBER) == Use(3)


class TestRestart:
    async def test_a_snapshot_of_a_second_ago_loses_nothing_of_replicas_that_live(self, world: LossyWorld) -> None:
        book = book_of(world)
        book.count(TEAM, NOVEMBER, Use(100))
        await book.exchange()
        assert world.store is not None
        snapshot = deepcopy(world.store.monthly_use.state)
        book.count(TEAM, NOVEMBER, Use(50))
        await book.exchange()
        world.restore(snapshot)
        await book.exchange()
        assert world.total() == Use(150)

    async def test_without_any_snapshot_replicas_bring_what_they_know(self, world: LossyWorld) -> None:
        one, two = book_of(world), book_of(world)
        for book, use in ((one, Use(100)), (two, Use(20)), (one, Use(3))):
            book.count(TEAM, NOVEMBER, use)
            await book.exchange()
        await two.exchange()
        world.restore(UseState())
        one.count(TEAM, NOVEMBER, Use(1))
        for book in (one, two):
            await book.exchange()
        assert world.total() == Use(124)

    async def test_a_snapshot_that_is_read_late_is_added_to_what_was_counted_since(self, world: LossyWorld) -> None:
        old, new = book_of(world), book_of(world)
        old.count(TEAM, NOVEMBER, Use(100))
        await old.exchange()
        assert world.store is not None
        snapshot = deepcopy(world.store.monthly_use.state)
        world.restore(UseState())
        new.count(TEAM, NOVEMBER, Use(7))
        old.count(TEAM, NOVEMBER, Use(1))
        for book in (old, new):
            await book.exchange()
        world.store.monthly_use.restore(snapshot, world.now)
        assert world.total() == Use(108)

    async def test_a_replica_that_was_silent_for_long_counts_once(self, world: LossyWorld) -> None:
        one, two = book_of(world), book_of(world)
        one.count(TEAM, NOVEMBER, Use(100))
        await one.exchange()
        world.now += MEMORY + SECOND
        assert world.store is not None
        two.count(TEAM, NOVEMBER, Use(10))
        await two.exchange()
        world.store.sweep(world.now)
        one.count(TEAM, NOVEMBER, Use(1))
        await one.exchange()
        assert world.total() == Use(111)


class TestSnapshots:
    STATE = UseState({TEAM: {NOVEMBER: Use(100, 7)}}, {"one": {TEAM: {NOVEMBER: Use(60, 7)}}})

    def test_they_count_at_any_age(self, tmp_path: Path) -> None:
        url = f"{tmp_path}/made/budgets.json"
        assert use_snapshot.read(url, ONLY) == UseState()
        use_snapshot.write(url, use_snapshot.content_of(self.STATE))
        assert use_snapshot.read(url, ONLY) == self.STATE

    def test_those_of_another_number_of_shards_are_read_for_the_accounts_that_are_here_now(
        self, tmp_path: Path
    ) -> None:
        url = f"{tmp_path}/budgets.json"
        before = [shard for shard in (Shard(0, 2), Shard(1, 2)) if shard.has(TEAM)]
        use_snapshot.write(before[0].name(url), use_snapshot.content_of(self.STATE))
        use_snapshot.write(url, use_snapshot.content_of(UseState({TEAM: {NOVEMBER: Use(90, 8)}})))
        after = [Shard(place, 3) for place in range(3)]
        found = [use_snapshot.read(url, shard).totals for shard in after]
        assert found == [{TEAM: {NOVEMBER: Use(100, 8)}} if shard.has(TEAM) else {} for shard in after]

    def test_a_broken_one_is_nothing_and_one_that_cannot_be_read_is_not_known(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = f"{tmp_path}/budgets.json"
        (tmp_path / "budgets.json.use").write_text("[")
        assert use_snapshot.read_in_time(url, ONLY) == UseState()

        def fails(*_: object) -> bytes:
            raise OSError("the bucket does not answer")

        monkeypatch.setattr("app.owner_only.read", fails)
        assert use_snapshot.read_in_time(url, ONLY) is None


class Interleavings(RuleBasedStateMachine):
    """Any order of requests, reports, losses, and restarts from a snapshot: never further from the truth than what came
    between a snapshot and a crash.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = LossyWorld()
        self.books = [book_of(self.world) for _ in range(3)]
        self.truth: defaultdict[str, int] = defaultdict(int)
        self.since: defaultdict[str, int] = defaultdict(int)  # the snapshot
        self.slack: defaultdict[str, int] = defaultdict(int)
        self.snapshot = UseState()

    @rule(number=st.integers(0, 2), tokens=st.integers(0, 50), month=st.sampled_from([NOVEMBER, DECEMBER]))
    def use(self, number: int, tokens: int, month: str) -> None:
        self.books[number].count(TEAM, month, Use(tokens, 2 * tokens))
        self.truth[month] += tokens
        self.since[month] += tokens

    @rule(number=st.integers(0, 2), loses=st.sampled_from(["", "", "report", "reply"]))
    def exchange(self, number: int, loses: str) -> None:
        self.world.loses = loses
        asyncio.run(self.books[number].exchange())

    @rule(number=st.integers(0, 9))
    def repeat_a_report(self, number: int) -> None:
        if len(self.world.reports) > number:
            asyncio.run(self.world.use(self.world.reports[-1 - number]))

    @rule(number=st.integers(0, 2))
    def replace_a_replica(self, number: int) -> None:
        """It reports when it stops."""
        self.world.loses = ""
        asyncio.run(self.books[number].exchange())
        self.books[number] = book_of(self.world)

    @rule()
    def write_a_snapshot(self) -> None:
        for book in self.books:  # as every second
            self.world.loses = ""
            asyncio.run(book.exchange())
        assert self.world.store is not None
        self.snapshot = deepcopy(self.world.store.monthly_use.state)
        self.since.clear()

    @rule()
    def restart_the_store(self) -> None:
        self.world.restore(self.snapshot)
        self.world.reports.clear()  # a report to the store before does not come to this one
        for month, tokens in self.since.items():
            self.slack[month] += tokens

    @invariant()
    def no_replica_knows_more_than_there_was(self) -> None:
        for book in self.books:
            for month in (NOVEMBER, DECEMBER):
                assert book.total(TEAM, month).tokens <= self.truth[month] + self.slack[month]

    def teardown(self) -> None:
        self.world.loses = ""
        for book in [*self.books, *self.books]:
            asyncio.run(book.exchange())
        for month in (NOVEMBER, DECEMBER):
            tokens, cost = self.world.total(month=month)
            assert abs(tokens - self.truth[month]) <= self.slack[month]
            assert cost == 2 * tokens
            assert {book.total(TEAM, month).tokens for book in self.books} == {tokens}


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
