"""A world for the tests of leased budgets: a clock moved by hand, and a budget store that can die."""

import asyncio
from typing import Any

from app.budgets.account import BudgetLimits
from app.budgets.leased import LeasedBudgets, StoreUnreachableError
from app.budgets.store import Answer, Ask, BudgetStore, Join, Report
from contract.errors import ApiError

SECOND = 10**9
KEY = "key000000000"


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

    def _reach(self) -> BudgetStore:
        self.calls += 1
        if self.store is None:
            raise StoreUnreachableError
        return self.store

    async def join(self, join: Join) -> None:
        self._reach().join(join, self.now)

    async def answer(self, ask: Ask) -> Answer:
        return self._reach().answer(ask, self.now)

    async def report(self, report: Report) -> None:
        self._reach().report(report, self.now)

    def crash(self) -> None:
        self.store = None

    def restart(self, debts: Any = None) -> None:
        self.store = BudgetStore(self.now, fresh=False, debts=debts)

    def replica(self, replicas: int = 1, patience: int = 0) -> LeasedBudgets:
        return LeasedBudgets(self, replicas, self.clock, self.sleep, patience)


class SlowWorld(World):
    """Calls take a moment, in which others begin."""

    async def join(self, join: Join) -> None:
        await asyncio.sleep(0)
        await super().join(join)

    async def answer(self, ask: Ask) -> Answer:
        await asyncio.sleep(0)
        answer = await super().answer(ask)
        await asyncio.sleep(0)
        return answer


async def admitted(budgets: Any, limits: BudgetLimits, tokens: int = 0) -> bool:
    try:
        admission = await budgets.admit(KEY, limits, tokens)
    except ApiError as error:
        if error.code != "rate_limit_exceeded":
            raise
        return False
    admission.settle(None)
    return True
