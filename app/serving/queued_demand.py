"""Shows Serve's autoscaler the requests that wait before a handle. Private parts of Serve 2.60, known here only.

The autoscaler counts the requests in replicas and in the queues of handles. Those in a fair queue are in neither, and
count as one of the handle's queue: so do Serve's metric of queued requests, and the alerts on it.
"""

from typing import Any

from ray.serve.handle import DeploymentHandle


class QueuedDemand:
    """What each model's handle has been made to count."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[Any, int]] = {}  # a router and how many of ours it counts, by model

    def show(self, handle: DeploymentHandle, number: int) -> None:
        """From now on `handle` counts `number` requests beside those in its own queue."""
        router, model_id = handle._router, handle.deployment_name
        if router is None:  # nothing was ever sent with it
            return
        before, counted = self._shown.get(model_id, (router, 0))
        if before is not router:
            _count(before, -counted)
            counted = 0
        self._shown[model_id] = router, number
        _count(router, number - counted)


def _count(router: Any, more: int) -> None:
    def add() -> None:
        router._asyncio_router._metrics_manager.num_queued_requests += more

    router.event_loop.call_soon_threadsafe(add)  # of a thread of its own, or ours
