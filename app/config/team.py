"""A team: keys that share a scope and a budget."""

from typing import Annotated

from pydantic import StringConstraints

from contract.fields import Strict

TeamId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class Team(Strict):
    """One team of the configuration."""

    id: TeamId
