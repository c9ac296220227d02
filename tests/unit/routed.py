"""Serve's own routing loop without a cluster: a request router over replicas of this process."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ray.serve._private.common import DeploymentHandleSource, DeploymentID, ReplicaID, RequestMetadata
from ray.serve._private.request_router.common import PendingRequest

DEPLOYMENT = DeploymentID("alpha", "portico")
Work = Callable[[str], Awaitable[Any]]


class Replica:
    """As much of Serve's RunningReplica as a router uses."""

    def __init__(self, name: str, max_ongoing: int) -> None:
        self.replica_id = ReplicaID(name, DEPLOYMENT)
        self.max_ongoing_requests = max_ongoing
        self.node_id = self.availability_zone = None
        self.multiplexed_model_ids: set[str] = set()
        self.routing_stats: dict[str, Any] = {}
        self.ongoing = 0

    async def get_queue_len(self, *, deadline_s: float) -> int:
        return self.ongoing


class Routed:
    """A router and its replicas; `send` is what Serve's handle does with a request."""

    def __init__(self, router_class: Any, names: str, max_ongoing: int = 4, **options: Any) -> None:
        self.router = router_class(
            deployment_id=DEPLOYMENT, handle_source=DeploymentHandleSource.REPLICA, use_replica_queue_len_cache=True
        )
        self.router.initialize_state(**options)
        self.replicas = {name: Replica(name, max_ongoing) for name in names}
        self.router.update_replicas(list(self.replicas.values()))
        self.sent = 0

    async def send(self, *args: Any, work: Work, session: str = "") -> str:
        """Route a call with `args`, and let the replica that it falls to do `work`. Returns that one's name."""
        self.sent += 1
        metadata = RequestMetadata(request_id="r", internal_request_id=str(self.sent), session_id=session)
        request = PendingRequest(args=list(args), kwargs={}, metadata=metadata)
        replica = await self._begin(request)
        try:
            await work(replica.replica_id.unique_id)
        finally:
            replica.ongoing -= 1
            self.router.decrement_queue_len_cache(replica.replica_id)
        return replica.replica_id.unique_id

    async def _begin(self, request: PendingRequest) -> Replica:
        retry = False
        while True:
            chosen = await self.router._choose_replica_for_request(request, is_retry=retry)
            replica = self.replicas[chosen.replica_id.unique_id]
            self.router.on_send_request(replica.replica_id)
            await asyncio.sleep(0)
            accepted = replica.ongoing < replica.max_ongoing_requests
            replica.ongoing += accepted
            self.router.on_new_queue_len_info(replica.replica_id, replica.ongoing)
            if accepted:
                self.router.on_request_routed(request, replica.replica_id, None)
                return replica
            retry = True  # a full replica refuses, and Serve routes the request again
