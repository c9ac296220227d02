"""POST /v1/responses with bodies like those of Codex: a shell as a function, the whole conversation in each request."""

import json
from typing import Any

import httpx

from tests.contract.conftest import MODEL
from tests.contract.test_responses import RESPONSES, events_of

# Enumerations only: a random model would fill a free string for ever.
SHELL = {
    "type": "function",
    "name": "shell",
    "description": "Runs a shell command and returns its output.",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {
            "command": {"type": "array", "items": {"enum": ["ls", "-l"]}, "minItems": 1, "maxItems": 2},
            "timeout_ms": {"enum": [1000, 5000]},
        },
        "required": ["command", "timeout_ms"],
        "additionalProperties": False,
    },
}
QUESTION = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is in this folder?"}]}


def body_of(*further: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "instructions": "You are a coding agent.",
        "input": [QUESTION, *further],
        "tools": [SHELL],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "3f0c8a52-3a0e-4a0b-9a51-0c6c8f1c1d55",
        "text": {"verbosity": "medium"},
        "seed": 1,
    } | changes


def test_the_model_calls_the_shell_and_goes_on_with_its_output(http: httpx.Client) -> None:
    first = http.post(RESPONSES, json=body_of(tool_choice="required"))
    assert first.status_code == 200, first.text
    *_, last = events_of(first)
    assert last["type"] == "response.completed"
    (call,) = [item for item in last["response"]["output"] if item["type"] == "function_call"]
    assert json.loads(call["arguments"])["timeout_ms"] in (1000, 5000)

    thought: dict[str, Any] = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": None,
        "encrypted_content": None,
    }
    asked = {"type": "function_call", "name": call["name"], "arguments": call["arguments"], "call_id": call["call_id"]}
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "README.md\n"}
    second = http.post(RESPONSES, json=body_of(thought, asked, result, max_output_tokens=6, logit_bias={"3": -100}))
    assert second.status_code == 200, second.text
    *_, last = events_of(second)
    assert (last["type"], last["response"]["usage"]["output_tokens"]) == ("response.incomplete", 6)


def test_what_the_model_cannot_do_is_dropped_and_named(http: httpx.Client) -> None:
    answer = http.post(RESPONSES, json=body_of(max_output_tokens=1))
    assert answer.status_code == 200, answer.text
    assert "reasoning" in answer.headers["x-param-adjustments"]


def test_a_search_on_the_web_is_refused_by_name(http: httpx.Client) -> None:
    answer = http.post(RESPONSES, json=body_of(tools=[SHELL, {"type": "web_search", "external_web_access": False}]))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_parameter", "tools.1")
    assert "hosted tool" in error["message"]
