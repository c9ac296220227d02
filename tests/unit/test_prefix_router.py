"""The router inside Serve's own routing loop, over replicas that only count: no request is lost, stuck or starved."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from ray.serve._private.common import DeploymentHandleSource

from app.upstream.prefix_router import PrefixRouter
from contract.protocol import RequestHead
from tests.unit.routed import DEPLOYMENT, Replica
from tests.unit.routed import Routed as Pool

MAX_ONGOING = 4


def head(*prefix: int) -> RequestHead:
    return RequestHead("/v1/chat/completions", "id", include_usage=False, echo={}, prefix=prefix)


class Routed(Pool):
    """Ours, over replicas that only wait."""

    def __init__(self, names: str, **options: Any) -> None:
        super().__init__(PrefixRouter, names, MAX_ONGOING, **options)

    async def send(self, *args: Any, seconds: float = 0.0) -> str:  # type: ignore[override]
        return await super().send(*args, work=lambda _: asyncio.sleep(seconds))


@pytest.fixture
async def routed() -> Routed:
    return Routed("ab", max_imbalance=2)


async def test_a_conversation_stays_where_it_began(routed: Routed) -> None:
    for opening in range(1, 20):
        first = await routed.send(head(opening, opening * 100))
        for turn in range(2, 5):
            assert await routed.send(head(opening, *(opening * 100 + n for n in range(turn)))) == first


async def test_conversations_are_spread(routed: Routed) -> None:
    chosen = Counter([await routed.send(head(opening, opening)) for opening in range(60)])
    assert min(chosen["a"], chosen["b"]) > 10


async def test_a_hot_prefix_spills_and_no_replica_is_left_out(routed: Routed) -> None:
    async with asyncio.timeout(10):
        chosen = Counter(await asyncio.gather(*(routed.send(head(1, 2, 3), seconds=0.05) for _ in range(40))))
    assert min(chosen["a"], chosen["b"]) >= 10


async def test_more_than_all_replicas_take_at_once_are_all_served_in_time(routed: Routed) -> None:
    async with asyncio.timeout(20):
        chosen = await asyncio.gather(*(routed.send(head(n % 3, n % 3), seconds=0.01) for n in range(200)))
    assert len(chosen) == 200


async def test_other_calls_are_routed_by_load(routed: Routed) -> None:
    assert await routed.send() in ("a", "b")


async def test_a_replica_that_goes_is_forgotten_and_its_conversations_move(routed: Routed) -> None:
    first = await routed.send(head(1, 2))
    (other,) = {"a", "b"} - {first}
    routed.router.update_replicas([routed.replicas[other]])
    assert await routed.send(head(1, 2)) == other


async def test_who_gives_up_waiting_leaves_nothing_behind(routed: Routed) -> None:
    busy = [asyncio.create_task(routed.send(head(1, 1), seconds=0.3)) for _ in range(2 * MAX_ONGOING)]
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(routed.send(head(1, 1)))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(*busy)
    async with asyncio.timeout(5):
        await routed.send(head(1, 1))
    assert routed.router.num_pending_requests == 0


async def test_requests_wait_for_the_first_replica() -> None:
    routed = Routed("")
    sending = asyncio.create_task(routed.send(head(1, 1)))
    await asyncio.sleep(0.05)
    assert not sending.done()
    routed.replicas["a"] = Replica("a", MAX_ONGOING)
    routed.router.update_replicas(list(routed.replicas.values()))
    assert await asyncio.wait_for(sending, 5) == "a"


async def test_serve_can_take_the_class_apart_and_put_it_together() -> None:
    """As the controller does: it hands each handle the class by value."""
    from ray.serve.config import RequestRouterConfig

    config = RequestRouterConfig(
        request_router_class="app.upstream.prefix_router:PrefixRouter", request_router_kwargs={"max_imbalance": 3}
    )
    router = config.get_request_router_class()(DEPLOYMENT, DeploymentHandleSource.REPLICA)
    router.initialize_state(**config.request_router_kwargs)
    assert await router.choose_replicas([], None) == []
