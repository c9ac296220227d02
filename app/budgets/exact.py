"""Budgets of one process: every admission is decided on the account itself. For one gateway replica."""

import time
from collections.abc import Callable

from app.budgets.account import Account, BudgetLimits, BudgetStatus
from app.budgets.admission import refused

Clock = Callable[[], int]  # nanoseconds that only grow


class ExactBudgets:
    """The accounts of all keys, in this process.

    They begin full, and end with the process or when the gateway gets several replicas: then the accounts in the budget
    store count. Each request is settled on the account that admitted it, so nothing is charged twice or lost; but right
    after such a change a key may use its burst once more, and requests under way hold no slot of the other account.
    """

    def __init__(self, clock: Clock = time.monotonic_ns) -> None:
        self._clock = clock
        self._accounts: dict[str, Account] = {}

    def admit(self, key: str, limits: BudgetLimits, tokens: int) -> "ExactAdmission":
        return ExactAdmission(self, key, limits, tokens, self._clock)

    def retire(self) -> None:
        """Admissions hold their account themselves."""

    async def close(self) -> None:
        """Nothing is leased."""

    @property
    def store_unreachable(self) -> bool:
        """There is none."""
        return False

    def budget_status(self, key: str, limits: BudgetLimits) -> BudgetStatus:
        now = self._clock()
        return self.account(key, limits, now).budget_status(now)

    def account(self, key: str, limits: BudgetLimits, now: int) -> Account:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account.open(limits, now)
        account.change(limits, now)
        return account


class ExactAdmission:
    """An admission on an account."""

    def __init__(self, budgets: ExactBudgets, key: str, limits: BudgetLimits, tokens: int, clock: Clock) -> None:
        self._budgets = budgets
        self._key = key
        self._limits = limits
        self._tokens = tokens
        self._clock = clock
        self._settled = False

    async def __aenter__(self) -> "ExactAdmission":
        now = self._clock()
        self._account = self._budgets.account(self._key, self._limits, now)
        if refusal := self._account.admit(self._tokens, now):
            raise refused(self._limits, refusal)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._settled = True
        if self._limits.slots is not None:
            self._account.slots_taken -= 1

    def settle(self, used: int | None) -> None:
        if not self._settled:
            self._settled = True
            if used is not None and self._limits.tokens is not None:
                self._account.give(0, self._tokens - used, self._clock())
