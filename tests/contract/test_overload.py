"""More requests at once than the model and its queue take: some are refused with Retry-After, none is lost or hangs."""

import asyncio
from collections import Counter

import httpx

from app.config.service import read_serve_config
from app.keys import LOCAL_KEY
from contract.project import PROJECT_FOLDER
from tests.conftest import Service
from tests.contract.conftest import MESSAGES, MODEL
from tests.unit.conftest import assert_error

CHAT = "/chat/completions"


async def test_a_full_queue_is_a_503_that_says_when_to_come_back(service: Service) -> None:
    scale = read_serve_config(PROJECT_FOLDER / "serve_configs" / "local.yaml")[1].models[0].scale
    at_once = 2 * (scale.max_ongoing_requests + scale.max_queued_requests)
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=service.base_url, headers=headers, timeout=120, limits=limits) as client:
        body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 64, "logit_bias": {"3": -100}}
        answers = await asyncio.gather(*(client.post(CHAT, json=body) for _ in range(at_once)))
        assert (await client.post(CHAT, json=body)).status_code == 200, "the service did not recover"
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 503}, statuses
    assert statuses[200] >= scale.max_ongoing_requests
    for answer in answers:
        if answer.status_code == 503:
            assert_error(answer, 503, "server_error", "overloaded")
