"""How many replicas a model has, what each takes, and what Ray reserves for it."""

from typing import Self

import pydantic
from pydantic import Field

from app.fields import PositiveFloat, PositiveInt, Strict


class Scaling(Strict):
    """How many replicas a model has and how much each takes. Requests beyond all of it are answered 503."""

    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt = 1
    target_ongoing_requests: PositiveFloat = Field(
        45, description="per replica; a replica is added where there are more. About 0.7 of the engine's max_num_seqs"
    )
    max_ongoing_requests: PositiveInt = Field(64, description="per replica, in the engine and waiting in it")
    max_queued_requests: PositiveInt = Field(128, description="waiting for a replica, per ingress replica")
    upscale_delay_s: float = Field(10, ge=0)
    downscale_delay_s: float = Field(300, ge=0)

    @pydantic.model_validator(mode="after")
    def _replicas_in_order(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas ({self.max_replicas}) is under min_replicas ({self.min_replicas})")
        return self


class Resources(Strict):
    """What Ray reserves for each replica."""

    num_cpus: float = Field(1, ge=0)
    num_gpus: float = Field(0, ge=0, description="a whole number of GPUs, or a fraction of one")
    accelerator_type: str | None = Field(None, description="a Ray accelerator type, such as H100")

    @pydantic.field_validator("num_gpus")
    @classmethod
    def _whole_or_fraction(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"{value} is neither a whole number of GPUs nor a fraction of one")
        return value
