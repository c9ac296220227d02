"""What a service says of the models that a key may use."""

from typing import Any, NamedTuple

from app.commands.service_client import ServiceClient


class ModelFacts(NamedTuple):
    """One model."""

    id: str
    engine: str
    capabilities: list[str]
    limits: dict[str, int]
    voices: list[str]

    def as_data(self) -> dict[str, Any]:
        return self._asdict()


def models_of(client: ServiceClient) -> list[ModelFacts]:
    """Raises Refused, NoService."""
    return [_facts(client.model(model_id)) for model_id in client.model_ids()]


def _facts(card: dict[str, Any]) -> ModelFacts:
    """Of a model's card; another service's has only its id."""
    ours = card.get("portico") or {}
    return ModelFacts(
        str(card["id"]),
        str(ours.get("engine", "?")),
        sorted(ours.get("capabilities", [])),
        dict(ours.get("limits", {})),
        list(ours.get("voices", [])),
    )
