"""How a model's requests find one of its replicas."""

from typing import Literal, Self

import pydantic
from pydantic import Field

from contract.fields import PositiveInt, Strict

Policy = Literal["power_of_two", "session", "prefix"]


class Routing(Strict):
    """How a model's requests find one of its replicas."""

    policy: Policy = Field(
        "power_of_two",
        description="power_of_two: the less busy of two; session: the same for every request with one X-Session-Id; "
        "prefix: the one that has seen the beginning of the conversation",
    )
    max_imbalance: PositiveInt | None = Field(
        None, description="of prefix: requests by which the known replica may be busier than the least busy; usually 8"
    )
    remembered_blocks: PositiveInt | None = Field(
        None, description="of prefix: blocks of 512 bytes that each ingress replica remembers; usually 65536"
    )

    @pydantic.model_validator(mode="after")
    def _options_of_the_policy(self) -> Self:
        for name in ("max_imbalance", "remembered_blocks"):
            if getattr(self, name) is not None and self.policy != "prefix":
                raise ValueError(f"{name} is an option of policy prefix, and the policy is {self.policy}")
        return self
