"""The ingress deployment: the gateway inside a Serve replica."""

import asyncio
from typing import Any

from ray import serve

from app import access_log
from app.config import Config
from app.gateway import Gateway
from app.metrics import RayMetrics
from app.metrics_page import metrics_page
from app.readiness import watch
from app.registry import Registry
from app.relay import HandleRelay


class IngressReplica:
    """Holds one gateway. Its number of replicas is fixed: a change would make HAProxy drop long streams."""

    def __init__(self, config: dict[str, Any], handles: dict[str, Any]) -> None:
        self._config = Config.model_validate(config)
        self._handles = handles
        self._watching: asyncio.Task[None] | None = None

    async def __serve_build_asgi_app__(self) -> Gateway:
        """Called by Serve once, on the loop that will serve the requests."""
        access_log.configure()
        registry = Registry(self._config.models)
        app_name = serve.get_replica_context().app_name
        self._watching = asyncio.create_task(watch(registry, app_name, self._handles))
        return Gateway(self._config, HandleRelay(self._handles), registry, RayMetrics(), metrics_page)
