"""A team: keys that share a scope and a budget."""

from app.keys.entry import TeamId
from contract.fields import Strict


class Team(Strict):
    """One team of the configuration."""

    id: TeamId
