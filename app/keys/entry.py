"""What is kept of one API key: its hash, its scope, its budget, its life."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from app.keys.secret import PUBLIC_ID_LENGTH
from contract.fields import ModelId, PositiveInt, Strict


class State(StrEnum):
    """Whether a key is good. Only an active one is."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the year is out of range") from None


def printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it has a control character; it must be one line of plain text")
    return text


PublicId = Annotated[str, StringConstraints(pattern=rf"^[A-Za-z0-9]{{{PUBLIC_ID_LENGTH}}}$")]
TeamId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Weight = Annotated[int, Field(ge=1, le=1000)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class Scope(StrEnum):
    """What a key may do beside requests to models."""

    ADMIN = "admin"  # the routes under /admin


class Budget(Strict):
    """The limits of one key; two keys never share a budget. None: no limit."""

    requests_per_minute: PositiveInt = 600
    tokens_per_minute: PositiveInt | None = Field(None, description="of prompts and answers together")
    concurrent_requests: PositiveInt | None = Field(None, description="requests and streams open at a time")


class KeyEntry(Strict):
    """One API key, known by its hash only."""

    id: PublicId = Field(description="the key's public id")
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="of the whole key", repr=False
    )
    name: Annotated[str, StringConstraints(max_length=100), AfterValidator(printable)] = ""
    pipelines: list[ModelId] | None = Field(None, description="the models the key may use; left out: every model")
    scopes: list[Scope] = Field([], description="admin: the routes under /admin, where they are enabled")
    team: TeamId | None = Field(None, description="one of `teams`, whose scope and budgets it shares")
    budget: Budget = Budget()
    weight: Weight = Field(1, description="how much of a busy model it gets, compared with other keys that wait for it")
    created: Moment | None = None
    expires: Moment | None = Field(None, description="the first moment at which the key is no longer valid")
    rotated_from: PublicId | None = Field(None, description="the id of the key that this one replaces")
    revoked: Moment | None = None

    def state_at(self, moment: datetime) -> State:
        """How the key is at `moment`, a timezone-aware one."""
        if self.revoked is not None:
            return State.REVOKED
        return State.EXPIRED if self.expires is not None and moment >= self.expires else State.ACTIVE
