"""The teams of the configuration, for operators: what their keys share, and what they have used in this month."""

from collections.abc import Iterable
from typing import Any

from app.config.team import Team
from app.keys import KeyEntry
from app.telemetry.metrics import QuotaFigures


def team_cards(
    teams: Iterable[Team], figures: Iterable[QuotaFigures], keys: Iterable[KeyEntry]
) -> list[dict[str, Any]]:
    """Tokens, and money in the currency of the configuration; of a resource without limits nothing is counted."""
    used: dict[str, dict[str, Any]] = {}
    for one in figures:
        used.setdefault(one.team, {})[one.resource] = {"used": one.used, "soft": None, "hard": None} | one.limits
    members: dict[str | None, list[str]] = {}
    for key in keys:
        members.setdefault(key.team, []).append(key.id)
    return [
        {
            "id": team.id,
            "name": team.name,
            "pipelines": team.pipelines,
            "budget": team.budget.model_dump(),
            "monthly": used.get(team.id, {}),
            "keys": members.get(team.id, []),
        }
        for team in teams
    ]
