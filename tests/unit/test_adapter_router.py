"""The adapters' router inside Serve's own routing loop: to where an adapter is loaded, else to where it falls."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from app.upstream.adapter_router import AdapterRouter
from contract.protocol import RESIDENT_ADAPTERS, Adapter, SlotRequest
from tests.unit.routed import Routed as Pool

MAX_ONGOING = 4


def request(name: str | None) -> SlotRequest:
    return SlotRequest(adapter=name and Adapter(name, f"/{name}"))  # type: ignore[arg-type]


class Routed(Pool):
    def __init__(self, names: str) -> None:
        super().__init__(AdapterRouter, names, MAX_ONGOING)

    async def send(self, name: str | None, seconds: float = 0.0) -> str:  # type: ignore[override]
        return await super().send(request(name), work=lambda _: asyncio.sleep(seconds))


@pytest.fixture
async def routed() -> Routed:
    return Routed("abc")


async def test_an_adapter_goes_where_it_is_loaded(routed: Routed) -> None:
    for name in routed.replicas:
        routed.replicas[name].routing_stats = {RESIDENT_ADAPTERS: ["other", f"of-{name}"]}
    for _ in range(10):
        for name in routed.replicas:
            assert await routed.send(f"of-{name}") == name


async def test_of_several_that_have_it_each_gets_a_part_and_no_other_gets_any(routed: Routed) -> None:
    for name in "ab":
        routed.replicas[name].routing_stats = {RESIDENT_ADAPTERS: ["x"]}
    chosen = Counter([await routed.send("x") for _ in range(60)])
    assert set(chosen) == {"a", "b"}


async def test_one_that_is_loaded_nowhere_falls_to_the_same_replica_in_every_gateway(routed: Routed) -> None:
    other = Routed("cab")
    fallen: Counter[str] = Counter()
    for number in range(60):
        first = await routed.send(f"number-{number}")
        assert await other.send(f"number-{number}") == first
        fallen[first] += 1
    assert min(fallen[name] for name in routed.replicas) > 8


async def test_where_its_replica_is_full_another_takes_it(routed: Routed) -> None:
    routed.replicas["a"].routing_stats = {RESIDENT_ADAPTERS: ["x"]}
    async with asyncio.timeout(10):
        chosen = Counter(await asyncio.gather(*(routed.send("x", seconds=0.1) for _ in range(3 * MAX_ONGOING))))
    assert chosen["a"] >= MAX_ONGOING
    assert sum(chosen.values()) == 3 * MAX_ONGOING


@pytest.mark.parametrize("call", [(), (request(None),), ("describe",)])
async def test_what_is_for_no_adapter_goes_by_load(routed: Routed, call: tuple[Any, ...]) -> None:
    routed.replicas["a"].routing_stats = {RESIDENT_ADAPTERS: ["x"]}
    chosen = Counter([await Pool.send(routed, *call, work=lambda _: asyncio.sleep(0)) for _ in range(60)])
    assert min(chosen[name] for name in routed.replicas) > 5


async def test_a_replica_that_goes_is_asked_no_more(routed: Routed) -> None:
    first = await routed.send("x")
    routed.router.update_replicas([one for name, one in routed.replicas.items() if name != first])
    assert await routed.send("x") != first
