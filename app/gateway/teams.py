"""The teams of the configuration: the scope of their keys, the rates that these share, and what a month has used."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from math import ceil

from app.budgets.account import UNLIMITED, BudgetLimits, BudgetStatus
from app.budgets.admission import Admission, Budgets
from app.budgets.shared import SharedAdmission, tighter
from app.budgets.use import Use, end_of_month, month_of
from app.budgets.use_book import UseBook
from app.config.prices import Prices
from app.config.team import Team, TeamBudget
from app.gateway.quotas import quotas_of
from app.keys import KeyEntry
from app.telemetry.metrics import QuotaFigures
from app.telemetry.record import RequestRecord
from contract.errors import ApiError

logger = logging.getLogger("portico.teams")

REMEMBERED = 10_000  # keys; then all are forgotten


class TeamAccount:
    """What the keys of a team share."""

    def __init__(self, team: Team, budgets: Budgets, book: UseBook, now: Callable[[], float]) -> None:
        self.id = team.id
        self.name = account_of(team.id)
        self.pipelines = team.pipelines
        self.quotas = quotas_of(team)
        self._limits = _limits_of(team.budget)
        self._budgets = budgets
        self._book = book
        self._now = now
        self._warned: set[tuple[str, str]] = set()  # (month, resource)

    def admission(
        self, own: AbstractAsyncContextManager[Admission], tokens: int
    ) -> AbstractAsyncContextManager[Admission]:
        """`own`, the admission of a key, together with one of the team that reserves `tokens`."""
        if self._limits is None:
            return own
        shared = self._budgets.admit(self.name, self._limits, tokens)
        return SharedAdmission(own, shared, f"this key's team `{self.id}`")

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens have to be reserved."""
        return self._limits is not None and self._limits.tokens is not None

    def budget_status(self, own: BudgetStatus) -> BudgetStatus:
        """Of each resource what is left of it, of the key's budget or of the team's."""
        return own if self._limits is None else tighter(own, self._budgets.budget_status(self.name, self._limits))

    async def require_quota(self) -> None:
        """Raises RateLimited where a month's hard limit is reached."""
        if not self.quotas:
            return
        if not self._book.is_known(self.name):  # this replica has just begun
            await self._book.learn(self.name)
        now = self._now()
        used = self._book.total(self.name, month_of(now))
        for quota in self.quotas:
            if quota.is_spent(used):
                raise quota.refusal(self.id, used, end_of_month(now), ceil(end_of_month(now).timestamp() - now))

    def charge(self, record: RequestRecord, prices: Prices) -> None:
        """Count what a request has used, as far as that is known."""
        if self.quotas:
            used = record.quantities()
            use = Use(used.input_tokens + used.output_tokens, prices.millionths(used))
            month = month_of(self._now())
            self._book.count(self.name, month, use)
            self._warn(month)

    def notice(self) -> str | None:
        """The header X-Budget-Notice, an RFC 9651 List: an item for each quota whose soft limit is reached."""
        used = self.used()
        return ", ".join(quota.notice(used) for quota in self.quotas if quota.is_passed(used)) or None

    def used(self) -> Use:
        """In this month, as far as is known here."""
        return self._book.total(self.name, month_of(self._now()))

    def _warn(self, month: str) -> None:
        used = self._book.total(self.name, month)
        for quota in self.quotas:
            if quota.is_passed(used) and (month, quota.resource) not in self._warned:
                self._warned.add((month, quota.resource))
                logger.warning("the team %s has passed a soft limit in %s: %s", self.id, month, quota.notice(used))


class Teams:
    """All teams, by id."""

    def __init__(
        self, teams: Iterable[Team], budgets: Budgets, book: UseBook, now: Callable[[], float] = time.time
    ) -> None:
        self._accounts = {team.id: TeamAccount(team, budgets, book, now) for team in teams}
        # key id -> an entry, and the same in its team's scope; None where there is no such team
        self._scoped: dict[str, tuple[KeyEntry, KeyEntry | None]] = {}

    def of(self, key: KeyEntry) -> TeamAccount | None:
        """The team of a key that has passed `scoped`."""
        return None if key.team is None else self._accounts[key.team]

    def scoped(self, key: KeyEntry) -> KeyEntry:
        """The key with the models that both it and its team may use. Raises ApiError where there is no such team."""
        if key.team is None:
            return key
        known = self._scoped.get(key.id)
        if known is None or known[0] is not key:
            if len(self._scoped) >= REMEMBERED:
                self._scoped.clear()
            if key.team not in self._accounts and (known is None or known[0].team != key.team):
                logger.warning("the key %s is refused: its team %s is not in the configuration", key.id, key.team)
            known = self._scoped[key.id] = key, self._narrowed(key, key.team)
        if known[1] is None:
            raise ApiError("invalid_api_key", "This API key belongs to a team that is not here. Tell the operator.")
        return known[1]

    def _narrowed(self, key: KeyEntry, team_id: str) -> KeyEntry | None:
        team = self._accounts.get(team_id)
        if team is None or team.pipelines is None:
            return None if team is None else key
        own = team.pipelines if key.pipelines is None else key.pipelines
        return key.model_copy(update={"pipelines": [one for one in own if one in team.pipelines]})

    def figures(self) -> Iterator[QuotaFigures]:
        """All quotas, for the metrics."""
        for team in self._accounts.values():
            used = team.used() if team.quotas else Use()
            yield from (quota.figures(team.id, used) for quota in team.quotas)


def account_of(team_id: str) -> str:
    """The name of a team's account; that of a key's is its public id, which has no colon."""
    return f"team:{team_id}"


def _limits_of(budget: TeamBudget) -> BudgetLimits | None:
    """None where the team has no limits of its own."""
    if budget == TeamBudget():
        return None
    return BudgetLimits(budget.requests_per_minute or UNLIMITED, budget.tokens_per_minute, budget.concurrent_requests)
