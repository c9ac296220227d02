"""What a gateway replica holds of one key's account."""

from app.budgets.account import Account, BudgetLimits, BudgetStatus, Debt
from app.budgets.bucket import MINUTE, burst_of
from app.budgets.messages import LEASE_TIME, SECOND, AdmissionReply, Amount

MARGIN = SECOND  # before a lease's end, for clocks that differ


class LocalLease:
    """A replica's lease of one key, and the account's status as the store last reported it."""

    __slots__ = (
        "_budget_status",
        "_expires",
        "_filled",
        "_reported_at",
        "_requests",
        "_tokens",
        "_used_at",
        "busy",
        "limits",
        "number",
        "refused_until",
    )

    def __init__(self, limits: BudgetLimits, now: int) -> None:
        self.limits = limits
        self.number = 0  # of the admission request that filled it up last
        self.busy = False  # it is being filled up or given back
        self.refused_until = now  # no request before, whoever sends it; tokens and slots may come back at any time
        self._requests = 0
        self._tokens = 0
        self._filled = 0  # requests it had when it was last filled up
        self._expires = now
        self._used_at = now
        self._budget_status: BudgetStatus | None = None
        self._reported_at = now

    def take(self, tokens: int, now: int) -> bool:
        """Admit a request here, if the lease has room for it."""
        if self._requests < 1 or now >= self._expires:
            return False
        if self.limits.tokens is not None:
            if self._tokens < tokens:
                return False
            self._tokens -= tokens
        self._requests -= 1
        self._used_at = now
        return True

    def runs_out(self, now: int) -> bool:
        """Whether it is time to fill it up, ahead of need."""
        return self._requests * 2 <= self._filled or now + LEASE_TIME // 2 >= self._expires

    def left(self, now: int) -> Amount:
        return Amount(self._requests, self._tokens) if now < self._expires else Amount()

    def fill(self, number: int, added: Amount, requested_at: int, now: int) -> None:
        """Take over what the store granted to admission request `number`."""
        left = self.left(now)
        self.number = number
        self._requests, self._tokens = left.requests + added.requests, left.tokens + added.tokens
        self._filled = self._requests
        self._expires = requested_at + LEASE_TIME - MARGIN

    def is_open(self, now: int) -> bool:
        """Whether the store may take it for outstanding, be there something left or not."""
        return now < self._expires

    def is_idle(self, since: int, now: int) -> bool:
        """Whether it is there to be given back, and nobody has used it since then."""
        return not self.busy and self.is_open(now) and self._used_at < since

    def give_up(self, now: int) -> Amount:
        """Returns what is left; then nothing is."""
        left = self.left(now)
        self._requests, self._tokens, self._expires = 0, 0, now
        return left

    def learn(self, reply: AdmissionReply, now: int) -> None:
        if reply.budget_status is not None:
            self._budget_status, self._reported_at = reply.budget_status, now

    def debt(self, now: int) -> Debt:
        """Of the account, as far as is known here; below zero: paid since."""
        return Debt() if self._budget_status is None else self._budget_status.debt().later(now - self._reported_at)

    def overdrawn(self) -> bool:
        """Whether the account was in debt when its status was reported."""
        return self._budget_status is not None and any(self._budget_status.debt().owed())

    def budget_status(self, limits: BudgetLimits, now: int) -> BudgetStatus:
        """The account's status now, as far as is known here."""
        reported, passed, left = self._budget_status, now - self._reported_at, self.left(now)
        if reported is None:
            return Account.open(limits, now).budget_status(now)
        requests = _grown(reported.requests, limits.requests, passed, reported.requests_full_in, left.requests)
        if limits.tokens is None:
            return BudgetStatus(limits, *requests)
        tokens = _grown(reported.tokens, limits.tokens, passed, reported.tokens_full_in, left.tokens)
        return BudgetStatus(limits, *requests, *tokens)


def _grown(units: int, per_minute: int, passed: int, full_in: int, left: int) -> tuple[int, int]:
    """What was reported a while ago, as it is now: units and the time until all are there."""
    grown = min(burst_of(per_minute), units + per_minute * passed // MINUTE + left)
    return grown, max(0, full_in - passed)
