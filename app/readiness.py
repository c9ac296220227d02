"""Asks Serve how the model deployments are and tells the registry."""

import asyncio
import logging
from typing import Any

from ray import serve

from app.profile import Profile
from app.profile_store import ProfileStore
from app.registry import Model, Readiness, Registry

logger = logging.getLogger("portico.readiness")

WATCH_SECONDS_STARTING = 0.5
WATCH_SECONDS_READY = 5.0
DESCRIBE_SECONDS = 30.0  # a replica answers at once, unless its queue is long

# All replicas are of the newest version, or there is none: the model was scaled to zero, or wakes.
SETTLED = frozenset({"HEALTHY", "UPSCALING", "DOWNSCALING"})


def readiness_of(deployment: Any) -> Readiness:
    """The readiness of one deployment from Serve's overview of it.

    A replica runs only after its constructor, which answers a warm-up request. A settled deployment without replicas
    has been up: every deployment starts with at least one.
    """
    if deployment.status in SETTLED or running_of(deployment) > 0:
        return Readiness.VERIFIED
    return Readiness.FAILED if deployment.status == "DEPLOY_FAILED" else Readiness.STARTING


def running_of(deployment: Any) -> int:
    """How many of its replicas take requests."""
    return int(deployment.replica_states.get("RUNNING", 0))


class Watch:
    """Keeps a registry up to date."""

    def __init__(self, registry: Registry, app_name: str, handles: dict[str, Any], profiles: ProfileStore) -> None:
        self._registry = registry
        self._app_name = app_name
        self._handles = handles
        self._profiles = profiles
        self._looking: asyncio.Task[None] | None = None

    def is_up(self, model_id: str) -> bool:
        """Whether a replica of the model runs, as far as is known here, without asking."""
        return self._registry.is_up(model_id)

    async def ask_whether_up(self, model_id: str) -> bool:
        """Whether a replica of the model runs now. Many who ask at once ask Serve once."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)
        return self._registry.is_up(model_id)

    async def run(self) -> None:
        """Watch for as long as this process lives."""
        while True:
            await self._look()
            await asyncio.sleep(WATCH_SECONDS_READY if self._registry.all_verified() else WATCH_SECONDS_STARTING)

    async def _look(self) -> None:
        try:
            status = await asyncio.to_thread(serve.status)
            application = status.applications.get(self._app_name)
            if application is None:
                return
            deployments = application.deployments
            # Each by itself: one model that is slow to answer keeps no other from being listed.
            await asyncio.gather(
                *(
                    self._learn(m, deployments[m.entry.id])
                    for m in self._registry.unsettled()
                    if m.entry.id in deployments
                )
            )
            self._registry.update(
                {name: readiness_of(one) for name, one in deployments.items()},
                {name: running_of(one) for name, one in deployments.items()},
            )
        except Exception:  # the controller may be restarting; what was known stays valid
            logger.warning("Serve did not say how the models are; asking again", exc_info=True)

    async def _learn(self, model: Model, deployment: Any) -> None:
        """Learn what a model can do: of a replica that runs, else as another gateway has learnt it."""
        if readiness_of(deployment) is not Readiness.VERIFIED:
            return
        settled = deployment.status in SETTLED
        if not settled and model.known is not None:
            return  # an update goes on, and either version may answer
        model_id, identity = model.entry.id, model.entry.identity
        if running_of(deployment) == 0 and (kept := await self._profiles.get(model_id, identity)) is not None:
            self._registry.learn(model_id, Profile.from_wire(kept))
            return
        try:
            async with asyncio.timeout(DESCRIBE_SECONDS):
                told = await self._handles[model_id].describe.remote()
        except Exception:  # the replica died meanwhile, or has much to do
            logger.warning("%s did not say what it can do; asking again", model_id, exc_info=True)
            return
        self._registry.learn(model_id, Profile.from_wire(told), settled=settled)
        if settled:
            await self._profiles.put(model_id, identity, told)
