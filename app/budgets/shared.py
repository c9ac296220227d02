"""A request on two accounts: its key's own, and one that several keys share."""

from contextlib import AbstractAsyncContextManager

from app.budgets.account import BudgetLimits, BudgetStatus
from app.budgets.admission import Admission, RateLimited


class SharedAdmission:
    """Admitted on both accounts, or on none. The key's own comes first, so that a key that has spent it takes nothing
    from the others; where the shared one refuses, the key's tokens go back and its request is spent.
    """

    def __init__(
        self,
        own: AbstractAsyncContextManager[Admission],
        shared: AbstractAsyncContextManager[Admission],
        whose: str,
    ) -> None:
        """`whose` the shared account is, in words."""
        self._entering = (own, shared)
        self._whose = whose

    async def __aenter__(self) -> "SharedAdmission":
        own, shared = self._entering
        self._own = await own.__aenter__()
        try:
            self._shared = await shared.__aenter__()
        except BaseException as error:
            self._own.settle(0)
            await own.__aexit__(None, None, None)
            if isinstance(error, RateLimited):
                raise error.of_account(self._whose) from None
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        own, shared = self._entering
        await own.__aexit__(None, None, None)
        await shared.__aexit__(None, None, None)

    def settle(self, used: int | None) -> None:
        self._own.settle(used)
        self._shared.settle(used)


def tighter(own: BudgetStatus, shared: BudgetStatus) -> BudgetStatus:
    """Of each resource the account that has less of it now, so that no more is promised than both have."""
    by_requests = min(own, shared, key=lambda one: one.requests)
    counted = [one for one in (own, shared) if one.limits.tokens is not None]
    by_tokens = min(counted, key=lambda one: one.tokens, default=own)
    limits = BudgetLimits(by_requests.limits.requests, by_tokens.limits.tokens, own.limits.slots)
    return BudgetStatus(
        limits, by_requests.requests, by_requests.requests_full_in, by_tokens.tokens, by_tokens.tokens_full_in
    )
