"""What the gateway knows of budgets: it requests an admission, and settles it."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from app.budgets.account import BudgetLimits, BudgetStatus, Refusal
from contract.errors import ApiError

SECOND = 10**9

MESSAGES = {
    "requests": "Rate limit reached for requests: {limits.requests} per minute.",
    "tokens": "Rate limit reached for tokens: {limits.tokens} per minute; prompt and `max_tokens` count together.",
    "concurrency": "Rate limit reached for concurrent requests: {limits.slots} at a time.",
}


class Admission(Protocol):
    """A request that was admitted."""

    def settle(self, used: int | None) -> None:
        """Charge `used` tokens instead of what was reserved; None: not known, the reservation stands. Only the first
        call counts.
        """
        ...


class Budgets(Protocol):
    """The budgets of all keys."""

    def admit(self, key: str, limits: BudgetLimits, tokens: int) -> AbstractAsyncContextManager[Admission]:
        """Admit a request of `key` that reserves `tokens`, for as long as the context is open. Entering it raises
        RateLimited. If nobody settles, the reservation stands. Who is cancelled while entering was not admitted: slot
        and tokens go back.
        """
        ...

    def retire(self) -> None:
        """Others take the place of these budgets, which go on for what they have admitted."""
        ...

    async def close(self) -> None:
        """Give back all that is leased, at shutdown."""
        ...

    @property
    def store_unreachable(self) -> bool:
        """Whether the last call did not reach the budget store."""
        ...

    def budget_status(self, key: str, limits: BudgetLimits) -> BudgetStatus:
        """The key's budget, as far as is known here. Makes no remote call."""
        ...


class RateLimited(ApiError):
    """A 429; `resource` is what is spent."""

    def __init__(self, resource: str, message: str, seconds: int, code: str = "rate_limit_exceeded") -> None:
        super().__init__(code, message, retry_after=seconds)
        self.resource = resource
        self._seconds = seconds

    def of_account(self, whose: str) -> "RateLimited":
        """The same, where the account is that of `whose`, in words, and not the key's own."""
        return RateLimited(f"team_{self.resource}", f"The budget of {whose} is spent. {self.message}", self._seconds)


def refused(limits: BudgetLimits, refusal: Refusal) -> RateLimited:
    """The error of a refused request. Who waits as long as it says, in whole seconds, finds a place."""
    seconds = max(1, -(-refusal.wait // SECOND))
    message = MESSAGES[refusal.resource].format(limits=limits)
    return RateLimited(refusal.resource, f"{message} Retry in {seconds} s.", seconds)
