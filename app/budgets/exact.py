"""Budgets of one process: every admission is decided on the account itself. For one ingress replica."""

import time
from collections.abc import Callable

from app.budgets.account import Account, BudgetLimits, BudgetStatus
from app.budgets.admission import refused

Clock = Callable[[], int]  # nanoseconds that only grow


class ExactBudgets:
    """The accounts of all keys, here."""

    def __init__(self, clock: Clock = time.monotonic_ns) -> None:
        self._clock = clock
        self._accounts: dict[str, Account] = {}

    async def admit(self, key: str, limits: BudgetLimits, tokens: int) -> "ExactAdmission":
        now = self._clock()
        account = self._account(key, limits, now)
        if refusal := account.admit(tokens, now):
            raise refused(limits, refusal)
        return ExactAdmission(account, tokens, self._clock)

    async def close(self) -> None:
        """Nothing is held elsewhere."""

    def budget_status(self, key: str, limits: BudgetLimits) -> BudgetStatus:
        now = self._clock()
        return self._account(key, limits, now).budget_status(now)

    def _account(self, key: str, limits: BudgetLimits, now: int) -> Account:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account.open(limits, now)
        account.change(limits, now)
        return account


class ExactAdmission:
    """An admission on an account."""

    __slots__ = ("_account", "_clock", "_open", "_slot", "_tokens")

    def __init__(self, account: Account, tokens: int, clock: Clock) -> None:
        self._account = account
        self._tokens = tokens
        self._slot = account.limits.slots is not None
        self._clock = clock
        self._open = True

    def settle(self, used: int | None) -> None:
        if not self._open:
            return
        self._open = False
        if used is not None and self._account.tokens is not None:
            self._account.tokens.give(self._tokens - used, self._clock())
        if self._slot:
            self._account.slots_taken -= 1
