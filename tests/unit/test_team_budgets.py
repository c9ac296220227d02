"""Accounts that several keys share, over several gateway replicas and one budget store."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.budgets.account import UNLIMITED, Account, BudgetLimits
from app.budgets.admission import RateLimited
from app.budgets.bucket import MINUTE, Bucket, burst_of
from app.budgets.exact import ExactBudgets
from app.budgets.leased import LeasedBudgets
from app.budgets.shared import SharedAdmission, tighter
from contract.errors import ApiError
from tests.unit.budget_world import SECOND, World, turns

ONE, OTHER, OUTSIDE = "key000000001", "key000000002", "key000000003"
TEAM = "team:acme"
PLENTY = BudgetLimits(10**6)


def shared(
    budgets: Any, key: str, limits: BudgetLimits, tokens: int = 0, own: BudgetLimits = PLENTY
) -> SharedAdmission:
    admissions = budgets.admit(key, own, tokens), budgets.admit(TEAM, limits, tokens)
    return SharedAdmission(*admissions, "the team `acme`")


async def admitted(admission: Any, used: int | None = None) -> bool:
    try:
        async with admission:
            if used is not None:
                admission.settle(used)
            return True
    except ApiError:
        return False


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(params=["exact", "leased"])
def budgets(request: pytest.FixtureRequest, world: World) -> Any:
    return ExactBudgets(world.clock) if request.param == "exact" else world.replica()


async def test_two_keys_share_and_a_key_outside_is_untouched(budgets: Any) -> None:
    limits = BudgetLimits(60)
    keys = [ONE, OTHER] * 5
    assert [await admitted(shared(budgets, key, limits)) for key in keys] == [True] * 6 + [False] * 4
    assert await admitted(budgets.admit(OUTSIDE, BudgetLimits(60), 0))


async def test_the_429_says_whose_budget_it_is_and_retry_after_is_true(budgets: Any, world: World) -> None:
    limits = BudgetLimits(6)
    assert await admitted(shared(budgets, ONE, limits))
    with pytest.raises(RateLimited) as refused:
        await shared(budgets, OTHER, limits).__aenter__()
    error = refused.value
    assert error.message == (
        "The budget of the team `acme` is spent. Rate limit reached for requests: 6 per minute. Retry in 10 s."
    )
    assert (error.code, error.resource, error.retry_after) == ("rate_limit_exceeded", "team_requests", 10)
    world.now += 10 * SECOND
    assert await admitted(shared(budgets, OTHER, limits))


async def test_where_the_team_refuses_the_key_s_tokens_and_slot_go_back(budgets: Any) -> None:
    own, limits = BudgetLimits(600, tokens=600, slots=1), BudgetLimits(UNLIMITED, tokens=60)
    assert await admitted(shared(budgets, ONE, limits, 6, own), used=6)
    for _ in range(20):
        assert not await admitted(shared(budgets, ONE, limits, 50, own))
    await turns()
    assert await admitted(budgets.admit(ONE, own, 50)), "of 60 six were used"


async def test_a_key_that_has_spent_its_own_takes_nothing_of_the_team(budgets: Any) -> None:
    limits = BudgetLimits(60)
    tries = [await admitted(shared(budgets, ONE, limits, own=BudgetLimits(10))) for _ in range(9)]
    assert tries == [True] + [False] * 8
    assert [await admitted(shared(budgets, OTHER, limits)) for _ in range(6)] == [True] * 5 + [False]


async def test_slots_are_shared(budgets: Any) -> None:
    limits = BudgetLimits(UNLIMITED, slots=1)
    async with shared(budgets, ONE, limits):
        assert not await admitted(shared(budgets, OTHER, limits))
    await turns()
    assert await admitted(shared(budgets, OTHER, limits))


async def test_who_leaves_while_the_team_is_asked_gives_back_what_the_key_has(world: World) -> None:
    asked = asyncio.Event()

    class Silent(LeasedBudgets):
        async def request(self, *_: Any) -> int | None:
            asked.set()
            await asyncio.Event().wait()
            return None

    own, limits = BudgetLimits(600, tokens=600, slots=1), BudgetLimits(60)
    budgets, silent = ExactBudgets(world.clock), Silent(world, 1, world.clock, world.sleep, 0)
    admission = SharedAdmission(budgets.admit(ONE, own, 60), silent.admit(TEAM, limits, 60), "the team `acme`")
    task = asyncio.create_task(admission.__aenter__())
    await asked.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await admitted(budgets.admit(ONE, own, 60))


async def test_a_team_without_a_limit_of_requests_has_plenty_whoever_dies(world: World) -> None:
    limits = BudgetLimits(UNLIMITED, tokens=6000)
    budgets = world.replica(2)
    for _ in range(300):
        assert await admitted(shared(budgets, ONE, limits, 1), used=0)
        await turns()
    world.crash()
    assert await admitted(shared(budgets, ONE, limits, 1), used=0), "within its lease"


@settings(max_examples=60, deadline=None)
@given(
    limit=st.sampled_from([6, 60, 599, 3000]),
    replicas=st.integers(1, 4),
    steps=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([ONE, OTHER]), st.sampled_from([1, 7, 400]), st.integers(0, 9)),
        max_size=30,
    ),
)
def test_replicas_together_never_admit_more_than_the_team_may(
    limit: int, replicas: int, steps: list[tuple[int, str, int, int]]
) -> None:
    """An exact bucket with 1 % more in its burst admits all that they admit, whichever keys it is for."""

    async def run() -> None:
        world = World()
        oracle = Bucket(limit, 0, burst=burst_of(limit) + limit // 100)
        gateways = [world.replica(replicas) for _ in range(replicas)]
        for replica, key, count, seconds in steps:
            for _ in range(count):
                if not await admitted(shared(gateways[replica % replicas], key, BudgetLimits(limit))):
                    break
                assert oracle.take(1, world.now), "more than the team may"
                await turns(2)
            world.now += seconds * SECOND
            await gateways[replica % replicas].tick()

    asyncio.run(run())


class TestStatus:
    def status(self, limits: BudgetLimits, spent: int = 0, tokens: int = 0) -> Any:
        account = Account.open(limits, 0)
        account.give(-spent, -tokens, 0)
        return account.budget_status(0)

    def test_it_is_of_whoever_has_less(self) -> None:
        own, team = self.status(BudgetLimits(600), 10), self.status(BudgetLimits(6000), 590)
        found = tighter(own, team)
        assert (found.limits.requests, found.requests) == (6000, 10)
        assert found.requests_full_in == 590 * MINUTE // 6000
        assert tighter(team, own).requests == 10

    def test_a_team_without_a_limit_of_requests_is_not_shown(self) -> None:
        own = self.status(BudgetLimits(600, slots=3))
        found = tighter(own, self.status(BudgetLimits(UNLIMITED, 6000)))
        assert (found.limits, found.requests, found.tokens) == (BudgetLimits(600, 6000, 3), 60, 600)

    def test_tokens_are_shown_where_the_key_alone_counts_them(self) -> None:
        own, team = self.status(BudgetLimits(600, 600), tokens=10), self.status(BudgetLimits(600))
        assert (tighter(own, team).limits.tokens, tighter(own, team).tokens) == (600, 50)
