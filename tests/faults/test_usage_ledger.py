"""The usage ledger on real Ray, behind three gateways under load: what its death and that of a gateway lose."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import psutil
import pytest
from sqlalchemy import select

from app.usage.schema import USAGE
from app.usage.store import UsageStore, opened
from tests.faults.conftest import FLOOD, Gateways, key

CLIENTS = 8
SECONDS = 60.0  # for what is on its way to arrive, on a busy machine
CHAT = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}]}


class Load:
    """Clients that send one request after the other, and when each was answered."""

    def __init__(self) -> None:
        self.answered: dict[str, float] = {}  # request id -> time.monotonic()

    @asynccontextmanager
    async def runs(self, gateways: Gateways) -> AsyncIterator[None]:
        headers = {"authorization": f"Bearer {key(FLOOD)}"}
        async with httpx.AsyncClient(base_url=gateways.url, headers=headers, timeout=SECONDS) as client:
            clients = [asyncio.create_task(self._send(client)) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                for one in clients:
                    one.cancel()
                await asyncio.gather(*clients, return_exceptions=True)

    async def _send(self, client: httpx.AsyncClient) -> None:
        while True:
            try:
                response = await client.post("/v1/chat/completions", json=CHAT)
            except httpx.TransportError:  # of a gateway that was killed
                continue
            if response.status_code == 200:
                self.answered[response.headers["x-request-id"]] = time.monotonic()


@pytest.fixture
def store(gateways: Gateways) -> UsageStore:
    return opened(gateways.usage)


def written(store: UsageStore) -> list[str]:
    with store._engine.connect() as connection:
        return list(connection.execute(select(USAGE.c.request_id)).scalars())


async def until_written(store: UsageStore, request_ids: set[str]) -> list[str]:
    async with asyncio.timeout(SECONDS):
        while request_ids - set(found := written(store)):
            await asyncio.sleep(0.2)
    return found


async def ended(process: psutil.Process) -> None:
    process.kill()
    await asyncio.to_thread(process.wait, SECONDS)


async def test_a_ledger_that_is_killed_under_load_loses_no_request_and_counts_none_twice(
    gateways: Gateways, store: UsageStore
) -> None:
    load = Load()
    async with load.runs(gateways):
        for _ in range(2):
            await asyncio.sleep(2)
            before = await gateways.ledger()
            await ended(before)
            assert (await gateways.ledger()).pid != before.pid
    found = await until_written(store, set(load.answered))
    assert len(load.answered) > CLIENTS
    assert len(found) == len(set(found))


async def test_a_key_sees_what_it_has_used(gateways: Gateways) -> None:
    headers = {"authorization": f"Bearer {key(FLOOD)}"}
    async with httpx.AsyncClient(base_url=gateways.url, headers=headers, timeout=SECONDS) as client:
        async with asyncio.timeout(SECONDS):
            while (response := await client.get("/v1/usage?by=model,status")).status_code != 200:
                await asyncio.sleep(0.5)  # the ledger is just back
    (bucket,) = response.json()["data"]
    (result,) = (one for one in bucket["results"] if (one["model"], one["status"]) == ("alpha", 200))
    assert result["output_tokens"] == result["num_model_requests"] > 0


async def test_a_gateway_that_is_killed_loses_no_request_that_was_answered_more_than_a_second_ago(
    gateways: Gateways, store: UsageStore
) -> None:
    load = Load()
    async with load.runs(gateways):
        await asyncio.sleep(4)
        killed = time.monotonic()
        await asyncio.gather(*map(ended, await gateways.replicas()))
    known = {request_id for request_id, answered in load.answered.items() if answered < killed - 1}
    assert len(known) > CLIENTS
    await until_written(store, known)  # what had left the gateways may still be on its way into the database
