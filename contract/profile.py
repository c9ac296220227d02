"""What a running model can do: found by its replica, sent to the gateway, answered at GET /v1/models/{id}."""

from collections.abc import Iterable
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
    voices: tuple[str, ...] = ()  # names of the voices
    speculation: dict[str, Any] | None = None  # how it drafts: method, num_speculative_tokens, ...; none: it does not
    languages: tuple[str, ...] = ()  # of speech that a client may choose, as codes or English names

    def limit(self, name: str) -> int | None:
        """One of the limits; `last_token_id` follows from the size of the vocabulary."""
        if name == "last_token_id":
            size = self.limits.get("vocabulary_size")
            return None if size is None else size - 1
        return self.limits.get(name)

    def overridden(self, capabilities: Iterable[tuple[str, bool]], template_kwargs: Iterable[str]) -> "Profile":
        """The profile with what the configuration says: single capabilities, and what clients may set."""
        capabilities = list(capabilities)
        named = {name for name, _ in capabilities}
        on = {name for name, has in capabilities if has}
        return replace(self, capabilities=(self.capabilities - named) | on, template_kwargs=frozenset(template_kwargs))

    def card(self) -> dict[str, Any]:
        """The profile as a client sees it."""
        speech = {"voices": list(self.voices), "languages": list(self.languages)}
        return {
            "engine": self.engine,
            "capabilities": sorted(self.capabilities),
            "unsupported": dict(sorted(self.lacks.items())),
            "limits": dict(sorted(self.limits.items())),
            "chat_template_kwargs": sorted(self.template_kwargs),
        } | {name: found for name, found in speech.items() if found}

    def to_wire(self) -> dict[str, Any]:
        """Plain data for the way from a replica to the gateway."""
        return asdict(self)

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> "Profile":
        """`to_wire`'s data, also after a way through JSON, where sets and tuples are lists."""
        sets = {name: frozenset(data[name]) for name in ("capabilities", "template_kwargs")}
        return cls(**data | sets | {"voices": tuple(data["voices"])})
