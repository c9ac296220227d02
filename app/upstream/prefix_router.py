"""The router that keeps a conversation where its prompt is cached: Serve's request router over a `PrefixMap`.

One lives beside each handle, so in every gateway replica; it asks nobody. Written for Serve 2.60, whose interface for
routers is alpha. Serve pickles this module by value, so it holds only the class.
"""

from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from app.upstream.prefix_map import PrefixMap, two_of


class PrefixRouter(RequestRouter):  # type: ignore[misc]
    """Longest known prefix first, within a bounded imbalance; else power of two choices.

    Not first in, first out: a request gets the replica that was chosen for it.
    """

    def initialize_state(self, **options: Any) -> None:
        """Called by Serve with `request_router_kwargs`."""
        self._map: PrefixMap[str] = PrefixMap(**options)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Ranks of replicas; Serve takes the less busy of a rank, and goes on to the next where all are full."""
        if not candidate_replicas:
            return []
        by_load = two_of(candidate_replicas)
        if pending_request is None:
            return [by_load]
        pending_request.routing_context.should_backoff = True  # once all ranks were tried
        replicas = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        loads = {name: self.replica_queue_len_cache.get(one.replica_id) or 0 for name, one in replicas.items()}
        chosen = self._map.choose(_prefix(pending_request), loads)
        return [by_load] if chosen is None else [[replicas[chosen]], by_load]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:  # noqa: ARG002
        """Called by Serve when a replica has got a request."""
        self._map.learn(_prefix(pending_request), replica_id.unique_id)


def _prefix(pending_request: PendingRequest) -> tuple[int, ...]:
    """The prefix in the RequestHead or SlotRequest of a call; calls of other methods have none."""
    request = pending_request.args[0] if pending_request.args else None
    return getattr(request, "prefix", ())
