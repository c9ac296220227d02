"""How many drafted tokens the models accepted: from vLLM's own counters, which Ray's agents hold for every replica."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

logger = logging.getLogger("portico.acceptance")

COUNTERS = {
    "ray_vllm_spec_decode_num_drafts_total": "drafts",
    "ray_vllm_spec_decode_num_draft_tokens_total": "draft_tokens",
    "ray_vllm_spec_decode_num_accepted_tokens_total": "accepted_tokens",
}
MODEL_LABEL = "model_name"  # vLLM's; the value is the model's id


@dataclass(frozen=True)
class Acceptance:
    """What became of a model's drafts, since its replicas have started."""

    drafts: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0

    @property
    def rate(self) -> float | None:
        """Accepted of drafted tokens."""
        return self.accepted_tokens / self.draft_tokens if self.draft_tokens else None

    @property
    def mean_length(self) -> float | None:
        """Tokens for each step with a draft: those accepted, and the one that the model makes by itself."""
        return 1 + self.accepted_tokens / self.drafts if self.drafts else None

    def card(self) -> dict[str, Any]:
        """As a client sees it; null where nothing was drafted yet."""
        return {"acceptance_rate": self.rate, "mean_accepted_length": self.mean_length}


def acceptance_by_model(families: Iterable[Metric]) -> dict[str, Acceptance]:
    """The sums over all replicas, by model."""
    counts: dict[str, dict[str, int]] = {}
    for family in families:
        for sample in family.samples:
            if (count := COUNTERS.get(sample.name)) and (model := sample.labels.get(MODEL_LABEL)):
                of_model = counts.setdefault(model, {})
                of_model[count] = of_model.get(count, 0) + int(sample.value)
    return {model: Acceptance(**of_model) for model, of_model in counts.items()}


def gauges(by_model: dict[str, Acceptance]) -> list[Metric]:
    """The same as series for GET /metrics."""
    rate = GaugeMetricFamily(
        "portico_speculation_acceptance_rate", "Accepted of drafted tokens, since the replicas started.",
        labels=["model"],
    )  # fmt: skip
    length = GaugeMetricFamily(
        "portico_speculation_mean_accepted_length",
        "Tokens per step with a draft: 1 + accepted tokens / drafts, since the replicas started.",
        labels=["model"],
    )
    for model, acceptance in sorted(by_model.items()):
        for family, value in ((rate, acceptance.rate), (length, acceptance.mean_length)):
            if value is not None:
                family.add_metric([model], value)
    return [family for family in (rate, length) if family.samples]


class KnownAcceptance:
    """The acceptance of all models, as it was last reported."""

    def __init__(self, report: Callable[[], Awaitable[dict[str, Acceptance]]]) -> None:
        self._report = report
        self._known: dict[str, Acceptance] = {}

    async def of(self, model_id: str) -> Acceptance:
        try:
            self._known = await self._report()
        except Exception:  # a card without fresh numbers is better than none
            logger.warning("the metrics agents did not report the acceptance of drafts", exc_info=True)
        return self._known.get(model_id, Acceptance())
