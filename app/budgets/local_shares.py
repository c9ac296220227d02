"""What a gateway replica admits by itself while the budget store is unreachable."""

from typing import NamedTuple

from app.budgets.account import Account, BudgetLimits, Debt, Refusal
from app.budgets.messages import SECOND, LocalAdmission

POLL = SECOND // 4  # between two calls of a store that is unreachable


class _Admitted(NamedTuple):
    number: int
    at: int
    key: str
    tokens: int
    debt: int


class LocalShares:
    """A replica's part of each limit. A share is empty when the store becomes unreachable, and gains from then on.

    A debt that another replica's request made is not known here: for as long as the store is away, that is forgotten.
    """

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas
        self._began = 0
        self._shares: dict[str, Account | None] = {}
        self._admitted: list[_Admitted] = []  # and not reported yet

    def begin(self, now: int) -> None:
        self._began = now
        self._shares.clear()

    def admit(
        self, number: int, key: str, limits: BudgetLimits, tokens: int, *, slots_held: int, debt: Debt, now: int
    ) -> Refusal | None:
        """Admit a request, or say why not; `debt` is the account's, as the store became unreachable."""
        if key not in self._shares:
            share = self._shares[key] = Account.share(limits, self._replicas, self._began)
            if share is not None:
                share.defer(debt.owed())
        share = self._shares[key]
        if share is None:
            return Refusal("requests", POLL)
        share.slots_taken = slots_held
        refusal = share.admit(tokens, now)
        if refusal is None:
            self._admitted.append(_Admitted(number, now, key, tokens, share.debt(now).tokens))
        return refusal

    def has_unreported(self) -> bool:
        return bool(self._admitted)

    def unreported(self, now: int) -> list[LocalAdmission]:
        return [LocalAdmission(one.number, now - one.at, one.key, one.tokens, one.debt) for one in self._admitted]

    def reported(self, through: int) -> None:
        """The store has counted the admissions up to this number."""
        self._admitted = [one for one in self._admitted if one.number > through]
