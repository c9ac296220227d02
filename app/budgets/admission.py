"""What the gateway knows of budgets: it asks for an admission, and settles it on every path."""

from typing import Protocol

from app.budgets.account import BudgetLimits, BudgetStatus, Refusal
from contract.errors import ApiError

SECOND = 10**9

WORDS = {
    "requests": "This key's budget of {limits.requests} requests a minute is spent.",
    "tokens": "This key's budget of {limits.tokens} tokens a minute is spent. Prompt and `max_tokens` count together.",
    "concurrency": "This key has {limits.slots} requests under way, which is its limit.",
}


class Admission(Protocol):
    """A request that was admitted. `settle` is called once, whatever becomes of the request."""

    def settle(self, used: int | None) -> None:
        """Charge `used` tokens instead of what was reserved; None: nothing is known, the reservation stands."""
        ...


class Budgets(Protocol):
    """The budgets of all keys."""

    async def admit(self, key: str, limits: BudgetLimits, tokens: int) -> Admission:
        """Admit a request of `key` that reserves `tokens`. Raises RateLimited."""
        ...

    async def close(self) -> None:
        """Give back what is held, at shutdown."""
        ...

    def budget_status(self, key: str, limits: BudgetLimits) -> BudgetStatus:
        """How the key's budget is, as far as is known here. Asks nobody."""
        ...


class RateLimited(ApiError):
    """A 429; `resource` is what is spent."""

    def __init__(self, resource: str, message: str, seconds: int) -> None:
        super().__init__("rate_limit_exceeded", message, retry_after=seconds)
        self.resource = resource


def refused(limits: BudgetLimits, refusal: Refusal) -> RateLimited:
    """The error of a refused request. Who waits as long as it says, in whole seconds, finds a place."""
    seconds = max(1, -(-refusal.wait // SECOND))
    words = WORDS[refusal.resource].format(limits=limits)
    return RateLimited(refusal.resource, f"{words} Retry in {seconds} s.", seconds)
