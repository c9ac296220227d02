"""What a running model can do: found by its replica, told to the gateway, shown at GET /v1/models/{id}."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Profile:
    """One model's abilities as they are, not as somebody wrote them down."""

    engine: str
    capabilities: frozenset[str]  # what the model can do: chat, tools, vision, reasoning
    lacks: dict[str, str] = field(default_factory=dict)  # features of the engine that are off here -> why
    limits: dict[str, int] = field(default_factory=dict)  # context_length, vocabulary_size, max_logprobs, ...
    template_kwargs: frozenset[str] = frozenset()  # variables of the chat template that a client may set

    def overridden(self, capabilities: dict[str, bool]) -> "Profile":
        """The profile with what the configuration says of single capabilities."""
        on = {name for name, has in capabilities.items() if has}
        off = {name for name, has in capabilities.items() if not has}
        return replace(self, capabilities=(self.capabilities | on) - off)

    def card(self) -> dict[str, Any]:
        """The profile as a client sees it."""
        return {
            "engine": self.engine,
            "capabilities": sorted(self.capabilities),
            "unsupported": dict(sorted(self.lacks.items())),
            "limits": dict(sorted(self.limits.items())),
            "chat_template_kwargs": sorted(self.template_kwargs),
        }

    def to_wire(self) -> dict[str, Any]:
        """Plain data for the way from a replica to the gateway."""
        return asdict(self)

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> "Profile":
        return cls(**data)
