"""A budget store that does not answer at all, as where its node has lost its power: calls end by their time limit."""

import asyncio

import pytest

from app.budgets.account import BudgetLimits
from app.budgets.admission import RateLimited
from app.budgets.leased import LeasedBudgets
from app.budgets.messages import AdmissionReply, AdmissionRequest, Join, JoinReply, Report
from app.budgets.store_link import StoreUnreachableError
from tests.unit.budget_world import KEY, SECOND, World

CALL_TIME = 10 * SECOND
SLOTS = BudgetLimits(60_000, None, 2000)  # every request asks the store, as slots are not leased


class HangingWorld(World):
    """Calls of a dead store take as long as they may."""

    hangs = False

    async def join(self, join: Join) -> JoinReply:
        self._hang()
        return await super().join(join)

    async def admit(self, request: AdmissionRequest) -> AdmissionReply:
        self._hang()
        return await super().admit(request)

    async def report(self, report: Report) -> bool:
        self._hang()
        return await super().report(report)

    def _hang(self) -> None:
        if self.hangs:
            self.now += CALL_TIME
            raise StoreUnreachableError


@pytest.fixture
def world() -> HangingWorld:
    return HangingWorld()


async def test_a_request_that_waited_for_the_call_is_admitted_from_what_the_share_has_gained_meanwhile(
    world: HangingWorld,
) -> None:
    replica = world.replica(replicas=2, patience=10 * SECOND)
    await replica.tick()
    world.hangs = True
    async with replica.admit(KEY, SLOTS, 0):
        pass
    assert world.now == CALL_TIME


async def test_the_share_has_gained_no_more_than_its_part_of_the_limit_in_that_time(world: HangingWorld) -> None:
    limits = BudgetLimits(120, None, 2000)  # a share of one request a second
    replica = world.replica(replicas=2)
    await replica.tick()
    world.hangs = True
    admitted = [await is_admitted(replica, limits) for _ in range(30)]
    assert 1 <= sum(admitted) <= world.now / SECOND


class SilentWorld(World):
    """A store that never answers; a call of it ends when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = True
        self.given_up = asyncio.Event()

    async def join(self, join: Join) -> JoinReply:
        await self._wait()
        return await super().join(join)

    async def admit(self, request: AdmissionRequest) -> AdmissionReply:
        await self._wait()
        return await super().admit(request)

    async def _wait(self) -> None:
        if not self.answers:
            await self.given_up.wait()
            raise StoreUnreachableError


async def test_while_one_request_calls_a_store_that_is_known_to_be_away_the_others_are_admitted() -> None:
    world = SilentWorld()
    replica = world.replica(replicas=2)
    await replica.tick()
    world.answers = False
    world.given_up.set()
    first = await is_admitted(replica, SLOTS)  # by which it is known
    world.given_up.clear()
    world.now += SECOND
    calling = asyncio.create_task(is_admitted(replica, SLOTS))
    await asyncio.sleep(0.01)
    assert not calling.done()
    world.now += SECOND  # any request may call again by now
    async with asyncio.timeout(2):
        others = [await is_admitted(replica, SLOTS) for _ in range(5)]
    world.given_up.set()
    assert (first, others, await calling) == (False, [True] * 5, True)


async def is_admitted(replica: LeasedBudgets, limits: BudgetLimits) -> bool:
    try:
        async with replica.admit(KEY, limits, 0):
            return True
    except RateLimited:
        return False
