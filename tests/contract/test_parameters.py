"""The parameter table against the running service: what was changed is said, and the engine takes what is left."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.endpoints.chat import TABLE
from tests.contract.conftest import MESSAGES, MODEL
from tests.unit.conftest import assert_error

CHAT = "/v1/chat/completions"


def chat(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": MESSAGES, "max_tokens": 2} | changes


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_changed_stands_in_the_header(http: httpx.Client, stream: bool) -> None:
    body = chat(top_p=1.5, top_logprobs=50, logprobs=True, max_tokens=9999, priority=1, store=True, stream=stream)
    response = http.post(CHAT, json=body | {"max_tokens": 2, "min_tokens": 5})
    assert response.status_code == 200
    assert response.headers["x-param-adjustments"] == (
        'top_p;action=clamp;from=1.5;to=1.0, top_logprobs;action=clamp;from=50;to=20, '
        'priority;action=drop;reason="unknown parameter", store;action=ignore, min_tokens;action=clamp;from=5;to=2'
    )  # fmt: skip


def test_a_limit_over_the_context_is_clamped_to_it(http: httpx.Client) -> None:
    response = http.post(CHAT, json=chat(max_tokens=100_000, stop_token_ids=list(range(1, 60)), seed=1))
    assert response.headers["x-param-adjustments"] == "max_tokens;action=clamp;from=100000;to=2048"
    assert response.status_code == 200


def test_strict_params_refuses_instead(http: httpx.Client) -> None:
    response = http.post(CHAT, json=chat(top_p=1.5, surprise=1, store=True, strict_params=True))
    assert_error(response, 400, "invalid_request_error", "invalid_value", "top_p")
    assert "`surprise` would be dropped" in response.json()["error"]["message"]
    assert http.post(CHAT, json=chat(store=True, service_tier="x", strict_params=True)).status_code == 200


def test_metadata_is_echoed_whole_and_in_the_first_chunk_of_a_stream(http: httpx.Client) -> None:
    metadata = {"order": "42", "note": "é"}
    assert http.post(CHAT, json=chat(metadata=metadata)).json()["metadata"] == metadata
    text = http.post(CHAT, json=chat(metadata=metadata, stream=True)).text
    first, *others, _ = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    assert first["metadata"] == metadata
    assert not any("metadata" in chunk for chunk in others)


def test_what_the_model_can_do_is_found_in_it(http: httpx.Client) -> None:
    found = http.get(f"/v1/models/{MODEL}").json()["portico"]
    assert found["engine"] == "vllm"
    assert found["capabilities"] == ["chat", "completions", "tokenize", "tools"]
    assert found["limits"] == {"context_length": 2048, "max_logprobs": 20, "vocabulary_size": 384}
    assert set(found["unsupported"]) == {"reasoning_effort", "thinking", "verbosity"}


def test_a_template_that_does_not_read_a_parameter_drops_it(http: httpx.Client) -> None:
    header = http.post(CHAT, json=chat(reasoning_effort="low")).headers["x-param-adjustments"]
    assert header == 'reasoning_effort;action=drop;reason="the model\'s template does not read it"'


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8) | st.lists(st.integers(-2, 400) | st.text(max_size=4), max_size=3)
    | st.dictionaries(st.text(max_size=6), st.integers(-200, 200) | st.text(max_size=4), max_size=3)
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(TABLE.by_name)) | st.text(max_size=8), VALUES, max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_body_is_answered_or_refused_and_never_a_fault_of_ours(http: httpx.Client, fields: dict[str, Any]) -> None:
    body = chat() | {name: value for name, value in fields.items() if name not in ("model", "max_tokens")}
    body["max_completion_tokens"] = 2
    body["n"] = 1
    response = http.post(CHAT, content=json.dumps(body, ensure_ascii=True))
    assert response.status_code in (200, 400, 422), response.text
    if response.status_code != 200:
        assert set(response.json()["error"]) == {"message", "type", "code", "param"}
