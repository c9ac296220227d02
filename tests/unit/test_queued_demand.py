"""What waits before a handle is in what Serve's own router reports to the autoscaler."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.router import AsyncioRouter, CurrentLoopRouter, RouterMetricsManager, SingletonThreadRouter
from ray.serve.handle import DeploymentHandle

from app.serving.queued_demand import QueuedDemand


def router_of(loop: asyncio.AbstractEventLoop) -> Any:
    """As much of a router as is used; building one needs a cluster."""
    manager = RouterMetricsManager.__new__(RouterMetricsManager)
    manager.num_queued_requests = 0
    return SimpleNamespace(event_loop=loop, _asyncio_router=SimpleNamespace(_metrics_manager=manager))


def counted(router: Any) -> int:
    number: int = router._asyncio_router._metrics_manager.num_queued_requests
    return number


async def test_a_handle_counts_what_waits_beside_its_own_queue() -> None:
    router = router_of(asyncio.get_running_loop())
    handle: Any = SimpleNamespace(_router=router, deployment_name="alpha")
    demand = QueuedDemand()
    router._asyncio_router._metrics_manager.num_queued_requests += 2  # its own
    for number, expected in ((5, 7), (3, 5), (0, 2)):
        demand.show(handle, number)
        await asyncio.sleep(0)
        assert counted(router) == expected


async def test_a_handle_that_takes_the_place_of_another_takes_its_count() -> None:
    loop = asyncio.get_running_loop()
    old, new = router_of(loop), router_of(loop)
    demand = QueuedDemand()
    demand.show(SimpleNamespace(_router=old, deployment_name="alpha"), 5)
    demand.show(SimpleNamespace(_router=new, deployment_name="alpha"), 4)
    await asyncio.sleep(0)
    assert (counted(old), counted(new)) == (0, 4)


async def test_a_handle_that_was_never_used_counts_nothing() -> None:
    QueuedDemand().show(SimpleNamespace(_router=None, deployment_name="alpha"), 3)


@pytest.mark.parametrize("router_class", [CurrentLoopRouter, SingletonThreadRouter])
def test_serve_has_the_private_parts(router_class: Any) -> None:
    assert isinstance(router_class.event_loop, property)
    assert "_asyncio_router" in router_class.__init__.__code__.co_names
    assert "_metrics_manager" in AsyncioRouter.__init__.__code__.co_names
    assert "num_queued_requests" in RouterMetricsManager._add_autoscaling_metrics_point.__code__.co_names
    assert "_router" in DeploymentHandle._init_router.__code__.co_names
