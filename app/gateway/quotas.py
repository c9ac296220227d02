"""What a team may use of one resource in a month: how its limits are read, shown, and refused."""

from datetime import datetime
from typing import NamedTuple

from app.budgets.admission import RateLimited
from app.budgets.use import Use
from app.config.prices import MILLION
from app.config.team import Team
from app.telemetry.metrics import QuotaFigures


class Quota(NamedTuple):
    """Limits in whole tokens, or in millionths of the currency."""

    resource: str  # "tokens" or "cost", as Use has them
    soft: int | None
    hard: int | None

    def used(self, use: Use) -> int:
        return use.tokens if self.resource == "tokens" else use.cost

    def is_passed(self, use: Use) -> bool:
        """Whether the soft limit is reached; the hard one where there is no other."""
        limit = self.hard if self.soft is None else self.soft
        return limit is not None and self.used(use) >= limit

    def is_spent(self, use: Use) -> bool:
        return self.hard is not None and self.used(use) >= self.hard

    def show(self, amount: int) -> str:
        """As an RFC 9651 Integer or Decimal: tokens, or units of the currency."""
        return str(amount) if self.resource == "tokens" else f"{amount / MILLION:.3f}"

    def figures(self, team_id: str, use: Use) -> QuotaFigures:
        unit = 1 if self.resource == "tokens" else MILLION
        limits = {"soft": self.soft, "hard": self.hard}
        known = {name: limit / unit for name, limit in limits.items() if limit is not None}
        return QuotaFigures(team_id, self.resource, self.used(use) / unit, known)

    def notice(self, use: Use) -> str:
        """An item of X-Budget-Notice."""
        limits = {"used": self.used(use), "soft": self.soft, "hard": self.hard}
        said = [f"{name}={self.show(amount)}" for name, amount in limits.items() if amount is not None]
        return ";".join([f"team-monthly-{self.resource}", *said])

    def refusal(self, team_id: str, use: Use, end: datetime, seconds: int) -> RateLimited:
        """The error of a request where the hard limit is reached, `seconds` before the month's end."""
        used, hard = self.show(self.used(use)), self.show(self.hard or 0)
        what = "tokens" if self.resource == "tokens" else "in cost, by the models' prices,"
        message = (
            f"The monthly quota of this key's team `{team_id}` is spent: {used} of {hard} {what} are used. It begins "
            f"anew on {end:%Y-%m-%d} at 00:00 UTC, in {seconds} s. Ask the operator for a larger one."
        )
        return RateLimited(f"team_monthly_{self.resource}", message, seconds, "insufficient_quota")


def quotas_of(team: Team) -> tuple[Quota, ...]:
    """Those that limit something."""
    monthly = team.monthly
    found = (Quota("tokens", *monthly.tokens.limits()), Quota("cost", *monthly.cost.limits()))
    return tuple(one for one in found if (one.soft, one.hard) != (None, None))
