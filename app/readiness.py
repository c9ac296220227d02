"""Asks Serve how the model deployments are and tells the registry."""

import asyncio
import logging
from typing import Any

from ray import serve

from app.profile import Profile
from app.registry import Readiness, Registry

logger = logging.getLogger("portico.readiness")

WATCH_SECONDS_STARTING = 0.5
WATCH_SECONDS_READY = 5.0


def readiness_of(deployment: Any) -> Readiness:
    """The readiness of one deployment from Serve's overview of it.

    A replica runs only after its constructor, which answers a warm-up request. HEALTHY without replicas is a model
    that has been up and was scaled to zero.
    """
    if deployment.status == "HEALTHY" or deployment.replica_states.get("RUNNING", 0) > 0:
        return Readiness.VERIFIED
    return Readiness.FAILED if deployment.status == "DEPLOY_FAILED" else Readiness.STARTING


async def watch(registry: Registry, app_name: str, handles: dict[str, Any]) -> None:
    """Keep `registry` up to date for as long as this process lives."""
    while True:
        try:
            status = await asyncio.to_thread(serve.status)
            application = status.applications.get(app_name)
            if application is not None:
                readiness = {name: readiness_of(one) for name, one in application.deployments.items()}
                for model_id in registry.without_profile():
                    if readiness.get(model_id) is Readiness.VERIFIED:
                        registry.learn(model_id, Profile.from_wire(await handles[model_id].describe.remote()))
                registry.update(readiness)
        except Exception:  # the controller may be restarting; what was known stays valid
            logger.warning("Serve did not say how the models are; asking again", exc_info=True)
        await asyncio.sleep(WATCH_SECONDS_READY if registry.all_verified() else WATCH_SECONDS_STARTING)
