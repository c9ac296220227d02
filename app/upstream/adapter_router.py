"""The router that sends a request to a replica that has its LoRA adapter loaded: Serve's request router.

One lives beside each handle, so in every gateway replica; it asks nobody. Written for Serve 2.60, whose interface for
routers is alpha. Serve pickles this module by value, so it holds only the class.
"""

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from app.upstream.prefix_map import two_of
from app.upstream.rendezvous import weight
from contract.protocol import RESIDENT_ADAPTERS


class AdapterRouter(RequestRouter):  # type: ignore[misc]
    """A replica that reports the adapter as loaded, else the one that it falls to; else power of two choices.

    What it falls to is the same in every gateway, so that the first requests for an adapter load it once. A request for
    the model itself goes by load alone. Not first in, first out: a request gets a replica that was chosen for it.
    """

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
        request = pending_request.args[0] if pending_request.args else None
        adapter = getattr(request, "adapter", None)
        if adapter is None:
            return [by_load]
        resident = [one for one in candidate_replicas if adapter.id in one.routing_stats.get(RESIDENT_ADAPTERS, ())]
        if resident:
            return [two_of(resident), by_load]
        return [[max(candidate_replicas, key=lambda one: weight(adapter.id, one.replica_id.unique_id))], by_load]
