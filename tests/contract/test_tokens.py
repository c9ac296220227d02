"""POST /v1/tokenize, /v1/detokenize and /v1/responses/input_tokens of the running service."""

from typing import Any

import httpx
import pytest

from tests import openai_answers
from tests.contract.conftest import EMBEDDING_MODEL, MESSAGES, MODEL, VISION_MODEL
from tests.contract.weather import SCHEMA
from tests.openai_answers import check_shape
from tests.sample_images import PNG, data_url

TEXT = "The quick brown fox, ünïcode"
TOOL = {"type": "function", "name": "get_weather", "description": "The weather.", "parameters": SCHEMA}
PICTURE = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": data_url(PNG)}}]


def tokenize(http: httpx.Client, **fields: Any) -> Any:
    response = http.post("/v1/tokenize", json={"model": MODEL} | fields)
    assert response.status_code == 200, response.text
    return response.json()


def detokenize(http: httpx.Client, tokens: list[int]) -> Any:
    response = http.post("/v1/detokenize", json={"model": MODEL, "tokens": tokens})
    assert response.status_code == 200, response.text
    return response.json()


def count(client: Any, **fields: Any) -> int:
    counted: int = client.responses.input_tokens.count(model=MODEL, **fields).input_tokens
    return counted


def test_a_text_becomes_tokens_and_they_become_the_text(http: httpx.Client) -> None:
    found = tokenize(http, prompt=TEXT)
    assert (found["count"], found["max_model_len"], found["token_strs"]) == (len(found["tokens"]), 2048, None)
    assert detokenize(http, found["tokens"]) == {"prompt": TEXT}


def test_each_token_s_text_is_returned_where_requested(http: httpx.Client) -> None:
    found = tokenize(http, prompt="the fox", return_token_strs=True)
    assert len(found["token_strs"]) == found["count"]
    assert all(isinstance(one, str) for one in found["token_strs"])


def test_messages_are_tokenized_as_a_chat_completion_reads_them(http: httpx.Client) -> None:
    chat = http.post("/v1/chat/completions", json={"model": MODEL, "messages": MESSAGES, "max_tokens": 1}).json()
    found = tokenize(http, messages=MESSAGES)
    assert found["count"] == chat["usage"]["prompt_tokens"]
    written = detokenize(http, found["tokens"])["prompt"]
    assert MESSAGES[0]["content"] in written
    without = detokenize(http, tokenize(http, messages=MESSAGES, add_generation_prompt=False)["tokens"])["prompt"]
    assert written.startswith(without)
    assert len(written) > len(without)


def test_a_last_message_may_stay_open(http: httpx.Client) -> None:
    turns = [*MESSAGES, {"role": "assistant", "content": "It is"}]
    written = detokenize(http, tokenize(http, messages=turns, continue_final_message=True)["tokens"])["prompt"]
    assert written.endswith("It is")


def test_tools_count(http: httpx.Client) -> None:
    nested = {"type": "function", "function": {name: value for name, value in TOOL.items() if name != "type"}}
    assert tokenize(http, messages=MESSAGES, tools=[nested])["count"] > tokenize(http, messages=MESSAGES)["count"] + 20


def test_an_image_counts_as_a_chat_completion_counts_it(http: httpx.Client) -> None:
    same = {"model": VISION_MODEL, "messages": [{"role": "user", "content": PICTURE}]}
    chat = http.post("/v1/chat/completions", json=same | {"max_tokens": 1}).json()
    assert tokenize(http, **same)["count"] == chat["usage"]["prompt_tokens"]


def test_no_tokens_are_no_text(http: httpx.Client) -> None:
    assert detokenize(http, []) == {"prompt": ""}
    assert tokenize(http, prompt="")["tokens"] == []


def test_what_exceeds_the_context_is_counted_too(http: httpx.Client, client: Any) -> None:
    long = "word " * 5000
    assert tokenize(http, prompt=long)["count"] > 4096
    assert count(client, input=long) > 4096


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_required_parameter", "prompt"),
        ({"prompt": "a", "messages": MESSAGES}, "invalid_value", "messages"),
        ({"prompt": "a", "model": EMBEDDING_MODEL}, "unsupported_capability", "prompt"),
    ],
)
def test_what_is_no_text_to_tokenize_is_named(http: httpx.Client, fields: Any, code: str, param: str) -> None:
    response = http.post("/v1/tokenize", json={"model": MODEL} | fields)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("tokens", [[384], [-1], [1.5], ["a"], "a", [True]])
def test_what_is_no_token_of_the_model_s_is_a_400(http: httpx.Client, tokens: Any) -> None:
    response = http.post("/v1/detokenize", json={"model": MODEL, "tokens": tokens})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "tokens")


RESPONSES: dict[str, dict[str, Any]] = {
    "text": {"input": "Say something."},
    "instructions": {"input": "Say something.", "instructions": "Be brief."},
    "a conversation": {
        "input": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"type": "function_call", "call_id": "1", "name": "get_weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "grey"},
        ]
    },
    "tools": {"input": "Say something.", "tools": [TOOL]},
    "tools that may not be called": {"input": "Say something.", "tools": [TOOL], "tool_choice": "none"},
}


@pytest.mark.parametrize("mode", RESPONSES)
def test_the_input_of_a_response_has_as_many_tokens_as_its_usage_says(client: Any, mode: str) -> None:
    response = client.responses.create(model=MODEL, max_output_tokens=1, **RESPONSES[mode])
    assert count(client, **RESPONSES[mode]) == response.usage.input_tokens


def test_a_count_is_of_openai_s_shape_and_takes_the_body_of_a_response(http: httpx.Client) -> None:
    body = {"model": MODEL, "input": "Hi", "max_output_tokens": 5, "temperature": 0, "stream": True}
    response = http.post("/v1/responses/input_tokens", json=body)
    check_shape(openai_answers.INPUT_TOKENS, response.json())
    assert response.headers["x-param-adjustments"] == (
        "max_output_tokens;action=ignore, temperature;action=ignore, stream;action=ignore"
    )


def test_what_is_not_stored_cannot_be_counted(http: httpx.Client) -> None:
    body = {"model": MODEL, "input": "Hi", "previous_response_id": "resp_1"}
    response = http.post("/v1/responses/input_tokens", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "previous_response_id")


def test_they_are_routes_of_every_pipeline(http: httpx.Client) -> None:
    assert http.post(f"/v1/{MODEL}/tokenize", json={"prompt": "a"}).json()["count"] == 1
    assert http.post(f"/v1/{MODEL}/responses/input_tokens", json={"input": "a"}).json()["input_tokens"] > 1
