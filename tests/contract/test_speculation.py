"""A model that speculates, as `speculation: auto` came to: its answers, its card, its metrics, what it cannot take."""

import re
import time
from typing import Any

import httpx
import pytest

from tests.contract.conftest import MODEL, SPECULATING_MODEL

CHAT = "/v1/chat/completions"
GREEDY = {
    "messages": [{"role": "user", "content": "The quick brown fox"}],
    "temperature": 0,
    "frequency_penalty": 0.1,
    "max_tokens": 200,
}


def acceptance(http: httpx.Client) -> dict[str, Any]:
    card: dict[str, Any] = http.get(f"/v1/models/{SPECULATING_MODEL}").json()["portico"]["speculation"]
    return card


def test_greedy_answers_are_those_of_the_model_without_speculation(http: httpx.Client) -> None:
    plain, fast = (http.post(CHAT, json=GREEDY | {"model": model}).json() for model in (MODEL, SPECULATING_MODEL))
    assert fast["choices"] == plain["choices"]
    assert fast["usage"] == plain["usage"]


def test_the_card_says_what_auto_came_to(http: httpx.Client) -> None:
    card = acceptance(http)
    assert card["method"] == "ngram"
    assert card["num_speculative_tokens"] == 4
    assert card["num_speculative_tokens_per_batch_size"] == [[1, 16, 4], [17, 64, 2], [65, 128, 1], [129, 1024, 0]]
    assert "not in the table" in card["chosen_because"]
    assert "speculation" not in http.get(f"/v1/models/{MODEL}").json()["portico"]


def test_acceptance_is_at_the_card_and_in_the_metrics(http: httpx.Client) -> None:
    http.post(CHAT, json=GREEDY | {"model": SPECULATING_MODEL}).raise_for_status()
    deadline = time.monotonic() + 40  # Ray's agents report in their own time
    while time.monotonic() < deadline and acceptance(http)["acceptance_rate"] is None:
        time.sleep(0.3)
    card = acceptance(http)
    assert 0 < card["acceptance_rate"] <= 1
    assert 1 < card["mean_accepted_length"] <= 5
    page = http.get("/metrics", headers={"authorization": ""}).text
    for name in ("acceptance_rate", "mean_accepted_length"):
        (labels, value) = re.findall(rf"^portico_speculation_{name}{{(.*)}} (.*)$", page, re.MULTILINE)[0]
        assert labels == f'model="{SPECULATING_MODEL}"'
        assert float(value) > 0


@pytest.mark.parametrize("route", [CHAT, "/v1/responses"])
def test_what_speculation_forbids_is_dropped_and_reported(http: httpx.Client, route: str) -> None:
    forbidden = {"logit_bias": {"3": -100}, "min_p": 0.1}
    prompt: dict[str, Any] = {"messages": GREEDY["messages"], "max_tokens": 4} if route == CHAT else {"input": "hi"}
    if route != CHAT:
        prompt["max_output_tokens"] = 4
    response = http.post(route, json=prompt | forbidden | {"model": SPECULATING_MODEL})
    assert response.status_code == 200, response.text
    reported = response.headers["x-param-adjustments"]
    assert "logit_bias" in reported
    assert "min_p" in reported
    assert "speculative" in reported
    assert "x-param-adjustments" not in http.post(route, json=prompt | forbidden | {"model": MODEL}).headers


def test_a_prediction_stays_ignored(http: httpx.Client) -> None:
    body = GREEDY | {"prediction": {"type": "content", "content": "fox"}, "model": SPECULATING_MODEL}
    response = http.post(CHAT, json=body)
    assert response.status_code == 200, response.text
    assert "prediction" in response.headers["x-param-adjustments"]
