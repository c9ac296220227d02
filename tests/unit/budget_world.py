"""A world for the tests of leased budgets: a clock moved by hand, and a budget store that can die."""

import asyncio
from collections.abc import Mapping
from typing import Any

from app.budgets.account import BudgetLimits, Debt
from app.budgets.leased import LeasedBudgets
from app.budgets.messages import AdmissionReply, AdmissionRequest, Join, JoinReply, Report, Slots, UseReply, UseReport
from app.budgets.store import BudgetStore
from app.budgets.store_link import StoreUnreachableError
from contract.errors import ApiError

SECOND = 10**9
KEY = "key000000000"
NO_SLOTS = Slots({}, frozenset())


class World:
    """A clock that is moved by hand, and one budget store that can die."""

    def __init__(self) -> None:
        self.now = 0
        self.store: BudgetStore | None = BudgetStore(0)
        self.calls = 0

    def clock(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += int(seconds * SECOND) or 1
        await asyncio.sleep(0)

    def _reach(self) -> BudgetStore:
        self.calls += 1
        if self.store is None:
            raise StoreUnreachableError
        return self.store

    async def join(self, join: Join) -> JoinReply:
        return self._reach().join(join, self.now)

    async def admit(self, request: AdmissionRequest) -> AdmissionReply:
        return self._reach().admit(request, self.now)

    async def report(self, report: Report) -> bool:
        return self._reach().report(report, self.now)

    async def use(self, report: UseReport) -> UseReply:
        return self._reach().monthly_use.exchange(report, self.now)

    def crash(self) -> None:
        self.store = None

    def restart(self, debts: Mapping[str, Debt] | None = None) -> None:
        """`debts` is what the snapshot holds, where it was not lost."""
        self.store = BudgetStore(self.now, fresh=False, debts=debts)

    def replica(self, replicas: int = 1, patience: int = 0) -> LeasedBudgets:
        return LeasedBudgets(self, replicas, self.clock, self.sleep, patience)


class SlowWorld(World):
    """Calls and replies take a turn of the event loop each, in which others begin."""

    async def join(self, join: Join) -> JoinReply:
        await asyncio.sleep(0)
        reply = await super().join(join)
        await asyncio.sleep(0)
        return reply

    async def admit(self, request: AdmissionRequest) -> AdmissionReply:
        await asyncio.sleep(0)
        reply = await super().admit(request)
        await asyncio.sleep(0)
        return reply

    async def report(self, report: Report) -> bool:
        await asyncio.sleep(0)
        known = await super().report(report)
        await asyncio.sleep(0)
        return known


class LossyWorld(World):
    """Reports arrive, or not, or again later; their replies are lost."""

    def __init__(self) -> None:
        super().__init__()
        self.loses = ""  # "report" or "reply" of the next report
        self.reports: list[Report] = []

    async def report(self, report: Report) -> bool:
        self.reports.append(report)
        loses, self.loses = self.loses, ""
        if loses == "report":
            raise StoreUnreachableError
        known = await super().report(report)
        if loses == "reply":
            raise StoreUnreachableError
        return known


async def admitted(budgets: Any, limits: BudgetLimits, tokens: int = 0) -> bool:
    """Whether a request is admitted; it ends at once."""
    try:
        async with budgets.admit(KEY, limits, tokens):
            return True
    except ApiError as error:
        if error.code != "rate_limit_exceeded":
            raise
        return False


async def opened(budgets: Any, limits: BudgetLimits, tokens: int = 0, key: str = KEY) -> Any:
    """An admission whose request is under way; `closed` ends it."""
    return await budgets.admit(key, limits, tokens).__aenter__()


async def closed(admission: Any) -> None:
    await admission.__aexit__(None, None, None)


async def turns(count: int = 12) -> None:
    """Let what was started in the background go on."""
    for _ in range(count):
        await asyncio.sleep(0)
