"""Custom tools of POST /v1/responses: free text instead of arguments, as agents send them."""

from typing import Any

import httpx
import pytest

from tests import openai_answers
from tests.contract.conftest import MODEL
from tests.openai_answers import check_shape, events_of
from tests.unit.conftest import assert_error

PATCH = {"type": "custom", "name": "apply_patch", "description": "Edit files."}
NAMED = {"type": "custom", "name": "apply_patch"}
ASK = {
    "model": MODEL, "input": "Edit a file.", "tools": [PATCH], "parallel_tool_calls": False, "max_output_tokens": 600,
    "seed": 1,
}  # fmt: skip
FORCED = pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])


def respond(http: httpx.Client, **changes: Any) -> Any:
    response = http.post("/v1/responses", json=ASK | changes)
    assert response.status_code == 200, response.text
    check_shape(openai_answers.RESPONSE, response.json())
    return response.json()


@FORCED
def test_a_forced_call_has_a_text_for_its_input(client: Any, choice: Any) -> None:
    asked = {name: value for name, value in ASK.items() if name != "seed"}
    response = client.responses.create(**asked, tool_choice=choice, extra_body={"seed": 1})
    (call,) = response.output
    assert (call.type, call.name, response.tools[0].type) == ("custom_tool_call", "apply_patch", "custom")
    assert isinstance(call.input, str)
    assert call.call_id


@FORCED
def test_a_streamed_input_adds_up(http: httpx.Client, choice: Any) -> None:
    events = events_of(http.post("/v1/responses", json=ASK | {"tool_choice": choice, "stream": True}))
    for event in events:
        check_shape(openai_answers.RESPONSE_EVENT, event)
    deltas = [one["delta"] for one in events if one["type"] == "response.custom_tool_call_input.delta"]
    (done,) = [one["input"] for one in events if one["type"] == "response.custom_tool_call_input.done"]
    assert "".join(deltas) == done
    assert events[-1]["response"]["output"][-1]["input"] == done


def test_a_result_goes_back_to_the_model(http: httpx.Client) -> None:
    call = {"type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch", "input": "*** Begin Patch"}
    turns = [{"role": "user", "content": "Edit a file."}, call]
    result = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "Done."}
    response = respond(http, input=[*turns, result], max_output_tokens=4)
    assert response["usage"]["input_tokens"] > respond(http, max_output_tokens=4)["usage"]["input_tokens"]


def test_a_grammar_is_refused_by_name(http: httpx.Client) -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": 'start: "a"'}
    response = http.post("/v1/responses", json=ASK | {"tools": [PATCH | {"format": grammar}]})
    assert_error(response, 400, "invalid_request_error", "unsupported_parameter", "tools.0.format")
