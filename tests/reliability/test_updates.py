"""The configuration changes: no request is lost or fails, whatever is restarted."""

import asyncio
import copy

import httpx

from app.keys import LOCAL_KEY
from tests.reliability.kinds import CHAT, EMBED
from tests.reliability.measuring import assert_unharmed, under_load
from tests.reliability.system import System

BROKEN = "broken-embed"
FAILED_SECONDS = 90.0


async def change_a_model(system: System) -> None:
    entry = system.scaled.entry(CHAT)
    entry["env"]["PORTICO_TEST"] = str(int(entry["env"].get("PORTICO_TEST", "0")) + 1)
    await system.replace(CHAT)


async def scale_down_and_up(system: System) -> None:
    """Down while streams are under way on both replicas."""
    scaling = system.scaled.entry(CHAT)["scaling"]
    before = scaling["max_replicas"]
    for number in (before - 1, before):
        scaling |= {"min_replicas": number, "max_replicas": number}
        await system.resize(CHAT, number)


async def add_a_model_that_cannot_start(system: System) -> None:
    """And remove it, once it is known to have failed."""
    models = system.args["models"]
    models.append(copy.deepcopy(system.scaled.entry(EMBED)) | {"id": BROKEN, "source": "./local_models/shapes"})
    await system.deploy()
    try:
        await until_failed(system)
    finally:
        models.pop()
        await system.deploy()
        await system.wait(lambda status: BROKEN not in status)


async def until_failed(system: System) -> None:
    """Wait until requests for the broken model are answered that its start failed; until then that it starts."""
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}
    async with (
        asyncio.timeout(FAILED_SECONDS),
        httpx.AsyncClient(base_url=system.url, headers=headers, timeout=30) as client,
    ):
        codes = [""]
        while codes[-1] != "model_failed":
            await asyncio.sleep(1)
            answer = await client.post("/v1/embeddings", json={"model": BROKEN, "input": "a fox"})
            codes.append(answer.json()["error"]["code"])
    assert set(codes) <= {"", "model_not_found", "model_starting", "model_failed"}


async def test_a_changed_model_restarts_and_that_costs_nothing(system: System) -> None:
    assert_unharmed(await under_load(system, "a model's entry is changed", change_a_model))


async def test_a_replica_less_costs_no_stream_and_one_more_costs_nothing(system: System) -> None:
    assert_unharmed(await under_load(system, "a model is scaled down and up", scale_down_and_up))


async def test_a_model_that_cannot_start_costs_the_others_nothing(system: System) -> None:
    name = "a model is added that cannot start, and removed"
    assert_unharmed(await under_load(system, name, add_a_model_that_cannot_start))
