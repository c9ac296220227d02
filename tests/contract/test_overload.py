"""More requests at once than the model and its queue take: some are refused with Retry-After, none is lost or hangs."""

import asyncio
from itertools import islice
from typing import Any

import httpx

from app.config.service import read_serve_config
from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.conftest import Service
from tests.contract.conftest import MESSAGES, MODEL
from tests.unit.conftest import assert_error

CHAT = "/chat/completions"


async def test_a_full_queue_is_a_503_that_says_when_to_come_back(service: Service) -> None:
    scale = read_serve_config(PROJECT_FOLDER / "serve_configs" / "tiny.yaml")[1].models[0].scale
    taken = scale.max_ongoing_requests + scale.max_queued_requests
    long, short = chat(max_tokens=1900), chat(max_tokens=2)
    async with client_of(service) as client:
        # Twice what the model and its queue take, and none of them is done before the last has come.
        under_way = [asyncio.create_task(client.post(CHAT, json=long)) for _ in range(2 * taken)]
        refused = [await one for one in islice(asyncio.as_completed(under_way), taken)]
        for task in under_way:
            task.cancel()
        await asyncio.wait(under_way)
        for answer in refused:
            assert_error(answer, 503, "server_error", "overloaded")
        await until_answered(client, short)
        answers = await asyncio.gather(*(client.post(CHAT, json=short) for _ in range(scale.max_ongoing_requests)))
    assert {answer.status_code for answer in answers} == {200}


def chat(max_tokens: int) -> dict[str, Any]:
    """A chat whose answer has exactly so many tokens: the one that ends it is out of reach."""
    return {"model": MODEL, "messages": MESSAGES, "max_tokens": max_tokens, "logit_bias": {"3": -100}}


def client_of(service: Service) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=service.base_url, headers=headers, timeout=120, limits=limits)


async def until_answered(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """Wait until the places of those who have left are free again."""
    async with asyncio.timeout(30):
        while (await client.post(CHAT, json=body)).status_code == 503:
            await asyncio.sleep(0.1)
