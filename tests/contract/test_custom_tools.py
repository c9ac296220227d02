"""Custom tools of chat and responses, as agents send them: text instead of arguments, and text of a regex."""

import re
from typing import Any

import httpx
import pytest

from tests import openai_answers
from tests.contract.conftest import MESSAGES, MODEL
from tests.openai_answers import check_shape, events_of

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


CHAT_PATCH = {"type": "custom", "custom": {"name": "apply_patch", "description": "Edit files."}}
CHAT_NAMED = {"type": "custom", "custom": {"name": "apply_patch"}}
CHAT_ASK = {
    "model": MODEL, "messages": MESSAGES, "tools": [CHAT_PATCH], "parallel_tool_calls": False, "max_tokens": 200,
    "seed": 1,
}  # fmt: skip
CHAT_FORCED = pytest.mark.parametrize("choice", ["required", CHAT_NAMED], ids=["required", "named"])
# Characters that JSON would have to escape are among its own.
REGEX = r'^(?:"[a-f]{2}"|\\\d{3}\n){3}.$'


def chat_tool(syntax: str, definition: str) -> dict[str, Any]:
    form = {"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}}
    return {"type": "custom", "custom": CHAT_PATCH["custom"] | {"format": form}}  # type: ignore[operator]


def test_a_chat_s_forced_call_has_a_text_for_its_input(client: Any) -> None:
    for choice in ("required", CHAT_NAMED):
        answer = client.chat.completions.create(**CHAT_ASK, tool_choice=choice, n=2)
        for made in answer.choices:
            (call,) = made.message.tool_calls
            assert (call.type, call.custom.name, made.message.content) == ("custom", "apply_patch", None)
            assert isinstance(call.custom.input, str)


@CHAT_FORCED
def test_a_chat_s_streamed_input_adds_up_to_the_whole_one(http: httpx.Client, choice: Any) -> None:
    asked = CHAT_ASK | {"tool_choice": choice, "temperature": 0}
    (whole,) = http.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["tool_calls"]
    chunks = events_of(http.post("/v1/chat/completions", json=asked | {"stream": True}))
    calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert {call["index"] for call in calls} == {0}
    assert (calls[0]["type"], calls[0]["custom"]["name"]) == ("custom", "apply_patch")
    assert [call["id"] for call in calls if "id" in call] == [calls[0]["id"]]
    assert "".join(call["custom"]["input"] for call in calls) == whole["custom"]["input"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_input_of_a_named_tool_matches_its_regex_on_chat(http: httpx.Client, stream: bool) -> None:
    asked = CHAT_ASK | {"tools": [chat_tool("regex", REGEX)], "tool_choice": CHAT_NAMED, "stream": stream, "n": 3}
    response = http.post("/v1/chat/completions", json=asked)
    assert response.status_code == 200, response.text
    inputs = ["", "", ""]
    for one in events_of(response) if stream else [response.json()]:
        for choice in one["choices"]:
            said = choice["delta" if stream else "message"]
            assert not said.get("content")
            for call in said.get("tool_calls", ()):
                inputs[choice["index"]] += call["custom"]["input"]
    assert len(set(inputs)) > 1
    for given in inputs:
        assert re.fullmatch(REGEX, given), given


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_input_of_a_named_tool_matches_its_regex_on_responses(http: httpx.Client, stream: bool) -> None:
    tool = PATCH | {"format": {"type": "grammar", "syntax": "regex", "definition": REGEX}}
    response = http.post("/v1/responses", json=ASK | {"tools": [tool], "tool_choice": NAMED, "stream": stream})
    assert response.status_code == 200, response.text
    answers = events_of(response) if stream else [response.json()]
    for one in answers:
        check_shape(openai_answers.RESPONSE_EVENT if stream else openai_answers.RESPONSE, one)
    last = answers[-1]["response"] if stream else answers[-1]
    (call,) = last["output"]
    assert (call["type"], call["name"], last["tools"], last["tool_choice"]) == (
        "custom_tool_call", "apply_patch", [tool], NAMED,
    )  # fmt: skip
    assert re.fullmatch(REGEX, call["input"]), call["input"]
    if stream:
        assert [event["sequence_number"] for event in answers] == list(range(len(answers)))
        deltas = [event["delta"] for event in answers if event["type"] == "response.custom_tool_call_input.delta"]
        assert "".join(deltas) == call["input"]


def test_a_regex_is_cut_by_the_limit_as_any_text(http: httpx.Client) -> None:
    asked = CHAT_ASK | {"tools": [chat_tool("regex", "a{50}")], "tool_choice": CHAT_NAMED, "max_tokens": 3}
    (choice,) = http.post("/v1/chat/completions", json=asked).json()["choices"]
    assert choice["finish_reason"] == "length"
    assert set(choice["message"]["tool_calls"][0]["custom"]["input"]) == {"a"}


def test_a_result_of_chat_goes_back_to_the_model(client: Any) -> None:
    call = {"id": "call_1", "type": "custom", "custom": {"name": "apply_patch", "input": '*** "Begin"\n'}}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "Done."}
    messages = [*MESSAGES, {"role": "assistant", "tool_calls": [call]}, result]
    before = client.chat.completions.create(**CHAT_ASK | {"max_tokens": 4})
    answer = client.chat.completions.create(**CHAT_ASK | {"max_tokens": 4, "messages": messages})
    assert answer.usage.prompt_tokens > before.usage.prompt_tokens


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/responses"])
def test_of_allowed_tools_one_is_called(http: httpx.Client, route: str) -> None:
    if route == "/v1/responses":
        ring = {"type": "function", "name": "ring", "parameters": {"type": "object", "properties": {}}}
        allowed: dict[str, Any] = {"type": "allowed_tools", "mode": "required", "tools": [NAMED]}
        response = respond(http, tools=[ring, PATCH], tool_choice=allowed)
        assert {item["type"] for item in response["output"]} == {"custom_tool_call"}
        assert (response["tool_choice"], len(response["tools"])) == (allowed, 2)
        return
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [CHAT_NAMED]}}
    tools = [{"type": "function", "function": {"name": "ring"}}, CHAT_PATCH]
    answer = http.post(route, json=CHAT_ASK | {"tools": tools, "tool_choice": choice}).json()
    assert {call["custom"]["name"] for call in answer["choices"][0]["message"]["tool_calls"]} == {"apply_patch"}
