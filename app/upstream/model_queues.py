"""The fair queues of all models in one gateway replica. They outlive a change of the configuration."""

import math
from collections.abc import Callable
from functools import partial

from app.config.service import Config
from app.upstream.fair_queue import FairQueue
from app.upstream.open_requests import OpenRequests


class ModelQueues:
    """One queue per model, as large as the model's replicas and this gateway's part of them."""

    def __init__(
        self, report_waiting: Callable[[str, int], None], report_refusal: Callable[[str], None], ingress_name: str
    ) -> None:
        """`report_waiting` is called with a model's id and how many requests wait for it, `report_refusal` with the id.

        `ingress_name` is the name of the deployment of the gateway replicas.
        """
        self._report_waiting, self._report_refusal = report_waiting, report_refusal
        self._ingress_name = ingress_name
        self._running: dict[str, int] = {}
        self._queues: dict[str, FairQueue] = {}
        self._config: Config | None = None
        self.open_requests = OpenRequests()

    def __getitem__(self, model_id: str) -> FairQueue:
        return self._queues[model_id]

    def follow(self, config: Config) -> None:
        """Take over a configuration. The queue of a model that is gone stays, for the requests that are under way."""
        self._config = config
        self.open_requests.resize(config.ingress.max_ongoing_requests)
        for entry in config.models:
            if entry.id not in self._queues:
                self._queues[entry.id] = self._new(entry.id)
        self._resize()

    def resize(self, running: dict[str, int]) -> None:
        """Take over how many replicas of each deployment run."""
        self._running = running
        self._resize()

    def _resize(self) -> None:
        if self._config is None:
            return
        gateways = max(1, self._running.get(self._ingress_name, 1))
        for entry in self._config.models:
            # A model without replicas wakes for those who wait for it, and then has one.
            places = max(1, self._running.get(entry.id, 1)) * entry.scale.max_ongoing_requests
            self._queues[entry.id].resize(
                math.ceil(places / gateways), entry.scale.max_queued_requests, self._config.fairness.share
            )

    def _new(self, model_id: str) -> FairQueue:
        return FairQueue(partial(self._report_waiting, model_id), partial(self._report_refusal, model_id))
