"""Replicas without Serve, and how tests ask them."""

import asyncio
from contextlib import aclosing
from typing import Any, NamedTuple

import orjson

from contract.options.catalog import CATALOG, ServedModel, Task
from contract.protocol import Adapter, RequestHead
from deployments.health import EngineBrokenError
from deployments.replica import Replica

REQUEST_ID = "4f0c9e4c-0000-4000-8000-000000000000"


class Case(NamedTuple):
    """A small model, and the engine that a test starts with it."""

    engine: str
    task: Task
    model: str  # of local_models
    engine_kwargs: dict[str, Any]


def served(engine: str, source: str, **more: Any) -> ServedModel:
    """A model of an engine's first task. Its id is the last part of `source`."""
    return ServedModel(source.rpartition("/")[2] or engine, engine, CATALOG[engine].tasks[0], source, **more)


async def started(engine: str, task: Task, source: str, engine_kwargs: Any, **more: Any) -> Replica:
    """A replica of an engine of the catalogue. Its model's id is the last part of `source`."""
    model = served(engine, source, **more)._replace(task=task, engine_kwargs=engine_kwargs)
    return await Replica.started(CATALOG[engine], model)


async def items_of(
    replica: Replica,
    route: str,
    body: bytes | dict[str, Any],
    *,
    strict: bool = False,
    adapter: Adapter | None = None,
) -> list[Any]:
    """All items of the answer to one request."""
    head = RequestHead(route, REQUEST_ID, include_usage=False, echo={}, strict=strict, adapter=adapter)
    async with aclosing(replica.handle(head, body if isinstance(body, bytes) else orjson.dumps(body))) as items:
        return [item async for item in items]


async def until_replaced(replica: Replica) -> None:
    """Ask for its health, as Serve does, until it says that its engine is broken. Raises TimeoutError."""
    async with asyncio.timeout(5):
        while True:
            try:
                await replica.check_health()
            except EngineBrokenError:
                return
            await asyncio.sleep(0.01)
