"""GET /v1/models and the probes of the running service."""

import time
from typing import Any

import httpx
import openai
import pytest

from tests.contract.conftest import (
    BARK_MODEL,
    EMBEDDING_MODEL,
    FLUX_MODEL,
    IMAGE_MODEL,
    MODEL,
    RERANKING_MODEL,
    SPECULATING_MODEL,
    SPEECH_MODEL,
    TRANSCRIPTION_MODEL,
    VISION_MODEL,
    VITS_MODEL,
)

EVERY = {
    MODEL,
    EMBEDDING_MODEL,
    RERANKING_MODEL,
    IMAGE_MODEL,
    FLUX_MODEL,
    TRANSCRIPTION_MODEL,
    SPEECH_MODEL,
    SPECULATING_MODEL,
    VISION_MODEL,
    VITS_MODEL,
    BARK_MODEL,
}
COUNTED = ('reason="unknown_url",route="unknown"', 'kind="completion",model="pocket-chat"', "ray_vllm_")


def test_the_list_and_the_card(client: Any) -> None:
    cards = {card.id: card for card in client.models.list().data}
    assert set(cards) == EVERY
    assert client.models.retrieve(MODEL).created == cards[MODEL].created


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
    deadline = time.monotonic() + 40  # Ray's agents report in their own time
    while time.monotonic() < deadline:
        page = http.get("/metrics", headers={"authorization": ""}).text
        missing = [one for one in COUNTED if one not in page]
        if not missing:
            break
        time.sleep(0.3)
    assert missing == []
    assert "nowhere-counted" not in page
    assert "NodeAddress" not in page


@pytest.mark.parametrize(
    ("wanted", "listed"),
    [
        ("speech", {SPEECH_MODEL, VITS_MODEL, BARK_MODEL}),
        ("chat", {MODEL, VISION_MODEL, SPECULATING_MODEL}),
        (["chat", "vision"], {VISION_MODEL}),
        (["chat", "speech"], set()),
    ],
)
def test_the_list_may_be_of_models_with_a_capability(client: Any, wanted: str | list[str], listed: set[str]) -> None:
    assert {card.id for card in client.models.list(extra_query={"capability": wanted}).data} == listed


def test_a_capability_that_there_is_not_is_named(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match=r"no capability `flying`.*chat, embeddings") as caught:
        client.models.list(extra_query={"capability": "flying"})
    assert caught.value.param == "capability"
