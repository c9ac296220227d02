"""GET /v1/models and the probes of the running service."""

import time
from typing import Any

import httpx

from tests.contract.conftest import EMBEDDING_MODEL, MODEL, VISION_MODEL


def test_the_list_and_the_card(client: Any) -> None:
    card, *others = client.models.list().data
    assert [card.id, *(other.id for other in others)] == [MODEL, EMBEDDING_MODEL, VISION_MODEL]
    assert client.models.retrieve(MODEL).created == card.created


def test_a_pipeline_answers_without_a_model(http: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    response = http.post(f"/v1/{MODEL}/chat/completions", json=body)
    assert response.json()["model"] == MODEL
    assert http.get(f"/v1/{MODEL}/models").json()["data"][0]["id"] == MODEL


def test_health_and_ready_need_no_key(http: httpx.Client) -> None:
    for path in ("/health", "/ready"):
        assert http.get(path, headers={"authorization": ""}).status_code == 200


def test_metrics_count_requests_and_tokens_and_tell_nothing_of_the_machine(http: httpx.Client) -> None:
    http.post("/v1/nowhere-counted")
    deadline = time.monotonic() + 40  # Ray's agents report every ten seconds
    while time.monotonic() < deadline:
        page = http.get("/metrics", headers={"authorization": ""}).text
        if 'reason="unknown_url"' in page and "ray_portico_tokens_total" in page:
            break
        time.sleep(1)
    assert 'reason="unknown_url",route="unknown"' in page
    assert 'kind="completion",model="pocket-chat"' in page
    assert "ray_vllm_" in page
    assert "nowhere-counted" not in page
    assert "NodeAddress" not in page
