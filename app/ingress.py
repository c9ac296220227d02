"""The ingress deployment: the gateway inside a Serve replica."""

import asyncio
from typing import Any

from ray import serve

from app import access_log
from app.budgets.actor import ActorLink
from app.budgets.admission import Budgets
from app.budgets.estimate import Estimator
from app.budgets.exact import ExactBudgets
from app.budgets.leased import LeasedBudgets
from app.config import Config
from app.gateway import Gateway
from app.image_store import ImageStore
from app.keys import KeyRing
from app.metrics import RayMetrics
from app.metrics_page import acceptance_now, metrics_page
from app.readiness import watch
from app.registry import Registry
from app.relay import HandleRelay
from app.speculation.acceptance import RecentAcceptance


class IngressReplica:
    """Holds one gateway. Its number of replicas is fixed: a change would make HAProxy drop long streams."""

    def __init__(self, config: dict[str, Any], handles: dict[str, Any]) -> None:
        self._config = Config.model_validate(config)
        self._handles = handles
        self._watching: list[asyncio.Task[None]] = []

    async def __serve_build_asgi_app__(self) -> Gateway:
        """Called by Serve once, on the loop that will serve the requests."""
        access_log.configure()
        keys = await asyncio.to_thread(KeyRing, self._config.keys, self._config.key_path())
        image_store = await asyncio.to_thread(ImageStore, self._config.kept_images)
        registry = Registry(self._config.models)
        app_name = serve.get_replica_context().app_name
        self._watching = [
            asyncio.create_task(watch(registry, app_name, self._handles)),
            asyncio.create_task(keys.follow()),
            asyncio.create_task(image_store.keep_swept()),
        ]
        estimator = Estimator()
        for entry in self._config.models:
            self._watching.append(asyncio.create_task(estimator.load(entry.id, entry.location())))
        return Gateway(
            self._config,
            keys,
            HandleRelay(self._handles),
            registry,
            budgets=self._budgets(),
            estimator=estimator,
            image_store=image_store,
            metrics=RayMetrics(),
            metrics_page=metrics_page,
            acceptance=RecentAcceptance(acceptance_now).of,
        )

    def _budgets(self) -> Budgets:
        """Budgets of this replica alone, where it is the only one, else leased from the shared account."""
        if self._config.ingress.replicas == 1:
            return ExactBudgets()
        budgets = LeasedBudgets(ActorLink(self._config.budgets.snapshot), self._config.ingress.replicas)
        self._watching.append(asyncio.create_task(budgets.keep()))
        return budgets
