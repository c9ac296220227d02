"""Errors of the running service: status, type, code, param, and a request id on each."""

from typing import Any

import httpx
import openai
import pytest

from tests.contract.conftest import MESSAGES, MODEL
from tests.unit.conftest import assert_error

CHAT = "/v1/chat/completions"
WRONG_KEY = f"Bearer sk-portico-{'a' * 12}-{'b' * 43}"
UNKNOWN_REFERENCE = {"type": "object", "properties": {"a": {"$ref": "#/$defs/missing"}}, "required": ["a"]}
NO_RANGE = {"type": "integer", "minimum": 9, "maximum": 1}
INVALID = "invalid_request_error"


def chat(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": MESSAGES, "max_tokens": 4} | changes


@pytest.mark.parametrize(
    "headers",
    [{"authorization": ""}, {"authorization": "Bearer sk-wrong"}, {"authorization": WRONG_KEY}],
    ids=["no key", "malformed key", "wrong key"],
)  # fmt: skip
def test_no_key_or_a_wrong_one_is_a_401(http: httpx.Client, headers: dict[str, str]) -> None:
    assert_error(http.post(CHAT, json=chat(), headers=headers), 401, "authentication_error", "invalid_api_key")


@pytest.mark.parametrize("model", ["nothing", "gpt-4o", "default"])
def test_an_unknown_model_is_a_404_that_says_where_the_ids_are(http: httpx.Client, model: str) -> None:
    response = http.post(CHAT, json=chat(model=model))
    assert_error(response, 404, "not_found_error", "model_not_found", "model")
    assert "GET /v1/models" in response.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/edits", "/v1/files", "/v1/assistants", "/v1/", "/nowhere", "/console/"])
def test_an_unknown_route_is_a_404(http: httpx.Client, path: str) -> None:
    assert_error(http.post(path, json={}), 404, "not_found_error", "unknown_url")


def test_a_wrong_method_is_a_405_that_allows_the_right_one(http: httpx.Client) -> None:
    response = http.get(CHAT)
    assert_error(response, 405, INVALID, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_broken_json_is_a_400(http: httpx.Client) -> None:
    assert_error(http.post(CHAT, content=b'{"model": '), 400, INVALID, "invalid_json")


def test_missing_messages_are_a_400(http: httpx.Client) -> None:
    assert_error(http.post(CHAT, json={"model": MODEL}), 400, INVALID, "missing_required_parameter", "messages")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("words", [3_000, 30_000], ids=["by its tokens", "by its characters"])
def test_a_prompt_over_the_context_is_a_422(http: httpx.Client, words: int, stream: bool) -> None:
    messages = [{"role": "user", "content": "word " * words}]
    response = http.post(CHAT, json=chat(messages=messages, stream=stream))
    assert_error(response, 422, INVALID, "context_length_exceeded", "messages")
    assert "2048" in response.json()["error"]["message"]


def test_a_body_over_the_limit_is_a_413(http: httpx.Client) -> None:
    response = http.post(CHAT, content=b" " * (33 * 1024 * 1024))
    assert_error(response, 413, INVALID, "request_too_large")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"temperature": "hot"}, 400, "invalid_type", "temperature"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
         400, "unsupported_capability", "messages.0.content.0"),
        ({"logit_bias": {"384": 1}}, 400, "invalid_value", "logit_bias"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}}},
         422, "invalid_json_schema", "response_format.json_schema.schema"),
        # What only the engine finds, and reports only after its own 200 where the answer is a stream.
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": UNKNOWN_REFERENCE}}},
         422, "invalid_json_schema", "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": NO_RANGE}}},
         422, "invalid_json_schema", "response_format"),
    ],
    ids=["a type", "an image", "a token out of the vocabulary", "a bad schema", "a reference to nothing", "no range"],
)  # fmt: skip
def test_what_cannot_be_done_has_a_status_on_streams_too(
    http: httpx.Client, stream: bool, changes: Any, status: int, code: str, param: str
) -> None:
    response = http.post(CHAT, json=chat(stream=stream, **changes))
    assert_error(response, status, INVALID, code, param)
    message = response.json()["error"]["message"]
    assert not any(word in message for word in ("Traceback", "'input'", "Param", "vllm", "0x")), message


def test_the_openai_client_raises_its_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.type, caught.value.param) == ("model_not_found", "not_found_error", "model")
    assert caught.value.request_id


def test_a_request_id_that_is_no_uuid_is_replaced_and_there_is_only_one(http: httpx.Client) -> None:
    response = http.post(CHAT, json=chat(), headers={"x-request-id": "mine", "x-client-request-id": "mine"})
    (request_id,) = response.headers.get_list("x-request-id")
    assert len(request_id) == 36
    assert response.headers["x-client-request-id"] == "mine"
