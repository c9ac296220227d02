"""A team: keys that share a scope, the rates of a budget, and what they may use in a month."""

from typing import Annotated, Self

import pydantic
from pydantic import AfterValidator, Field, StringConstraints

from app.config.prices import MILLION
from app.keys.entry import TeamId, printable
from contract.fields import ModelId, PositiveFloat, PositiveInt, Strict


class TeamBudget(Strict):
    """What all keys of a team may do together. None: no limit but each key's own."""

    requests_per_minute: PositiveInt | None = None
    tokens_per_minute: PositiveInt | None = Field(None, description="of prompts and answers together")
    concurrent_requests: PositiveInt | None = Field(None, description="requests and streams open at a time")


class _Quota(Strict):
    """What a team may use in a calendar month of UTC."""

    @pydantic.model_validator(mode="after")
    def _soft_comes_first(self) -> Self:
        soft, hard = self.limits()
        if soft is not None and hard is not None and soft >= hard:
            raise ValueError("`soft`, from which on a header warns, must be less than `hard`, which refuses")
        return self

    def limits(self) -> tuple[int | None, int | None]:
        """Soft and hard, as they are counted."""
        raise NotImplementedError


class TokenQuota(_Quota):
    """Tokens of prompts and answers together, in a calendar month of UTC."""

    soft: PositiveInt | None = Field(None, description="from here on responses and the log say so")
    hard: PositiveInt | None = Field(None, description="from here on requests are refused until the month ends")

    def limits(self) -> tuple[int | None, int | None]:
        return self.soft, self.hard


class CostQuota(_Quota):
    """Money in a calendar month of UTC, by the `prices` of the models."""

    soft: PositiveFloat | None = Field(None, description="from here on responses and the log say so")
    hard: PositiveFloat | None = Field(None, description="from here on requests are refused until the month ends")

    def limits(self) -> tuple[int | None, int | None]:
        """In millionths of the currency."""
        soft, hard = (None if limit is None else round(limit * MILLION) for limit in (self.soft, self.hard))
        return soft, hard


class Monthly(Strict):
    """What a team may use in a calendar month of UTC."""

    tokens: TokenQuota = TokenQuota()
    cost: CostQuota = CostQuota()

    def is_limited(self) -> bool:
        return any(limit is not None for quota in (self.tokens, self.cost) for limit in quota.limits())


class Team(Strict):
    """One team of the configuration."""

    id: TeamId
    name: Annotated[str, StringConstraints(max_length=100), AfterValidator(printable)] = ""
    pipelines: list[ModelId] | None = Field(
        None, description="the models that keys of the team may use at the most; left out: every model"
    )
    budget: TeamBudget = TeamBudget()
    monthly: Monthly = Monthly()
