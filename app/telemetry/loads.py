"""What each model has to do and what each key has used: from the gateways' own counters, which Ray's agents hold."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.core import Metric

WAITING = "ray_portico_waiting_requests"
REQUESTS = "ray_portico_requests_total"
TOKENS = "ray_portico_tokens_total"
SERIES = (WAITING, REQUESTS, TOKENS)
KEY_SERIES = {"ray_portico_key_requests_total": "requests", "ray_portico_budget_refusals_total": "refusals"}
KEY_TOKENS = "ray_portico_key_tokens_total"


@dataclass(frozen=True)
class ModelLoad:
    """Of all gateway replicas together; counts since these have started."""

    waiting: int = 0  # requests, now
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class KeyUsage:
    """Of all gateway replicas together, since these have started."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    refusals: int = 0  # requests refused because a budget was spent


def load_by_model(families: Iterable[Metric]) -> dict[str, ModelLoad]:
    """The sums over all series, by model."""
    counts: dict[str, dict[str, int]] = {}
    for family in families:
        for sample in family.samples:
            names = {WAITING: "waiting", REQUESTS: "requests", TOKENS: f"{sample.labels.get('kind')}_tokens"}
            if (name := names.get(sample.name)) and (model := sample.labels.get("model")):
                of_model = counts.setdefault(model, {})
                of_model[name] = of_model.get(name, 0) + int(sample.value)
    return {model: ModelLoad(**of_model) for model, of_model in counts.items()}


def usage(families: Iterable[Metric]) -> KeyUsage:
    """The sums over the series of one key."""
    counts: dict[str, int] = {}
    for family in families:
        for sample in family.samples:
            name = KEY_SERIES.get(sample.name)
            if sample.name == KEY_TOKENS:
                name = f"{sample.labels['kind']}_tokens"
            if name is not None:
                counts[name] = counts.get(name, 0) + int(sample.value)
    return KeyUsage(**counts)
