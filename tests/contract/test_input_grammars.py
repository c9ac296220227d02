"""Inputs of custom tools that follow Lark grammars, of chat and responses, as Codex asks for its patches."""

import itertools
import json
import re
from typing import Any

import httpx
import pytest

from tests import openai_answers
from tests.contract.conftest import MESSAGES, MODEL
from tests.openai_answers import check_shape, events_of
from tests.sample_grammars import IS_PATCH, PAIRS, PATCHES, is_of, lark_format
from tests.unit.conftest import assert_error

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
PAIRING = {"type": "custom", "name": "pair", "description": "Keep pairs.", "format": lark_format(PAIRS)}
DATE = r'"\d{4}\\\n"'
DATING = PAIRING | {"name": "date", "format": {"type": "grammar", "syntax": "regex", "definition": DATE}}
RINGING = {"type": "function", "name": "ring", "parameters": {"type": "object", "properties": {"times": {"enum": [1]}}}}
NAMED = {"type": "custom", "name": "pair"}
ASK = {"model": MODEL, "input": "Keep pairs.", "parallel_tool_calls": False, "max_output_tokens": 900}
CHAT_ASK = {"model": MODEL, "messages": MESSAGES, "parallel_tool_calls": False, "max_tokens": 900}
SEEDS = range(6)


def chat_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool of responses as chat completions have it."""
    kind, inner = tool["type"], {name: value for name, value in tool.items() if name != "type"}
    if "format" in inner:
        inner["format"] = {"type": "grammar", "grammar": {k: v for k, v in inner["format"].items() if k != "type"}}
    return {"type": kind, kind: inner}


def token_of(http: httpx.Client, text: str) -> str:
    """The id of the one token of a text."""
    asked = {"model": MODEL, "prompt": text, "add_special_tokens": False}
    (token,) = http.post("/v1/tokenize", json=asked).json()["tokens"]
    return str(token)


def check(name: str, given: str) -> None:
    """The input or the arguments are what the tool of this name takes."""
    if name == "pair":
        assert is_of(PAIRS, given), given
    elif name == "date":
        assert re.fullmatch(DATE, given), given
    else:
        json.loads(given)


def call_of_response(http: httpx.Client, **asked: Any) -> tuple[str, str]:
    """The name and the input of the one call of a response; where it is a function's, its arguments."""
    response = http.post("/v1/responses", json=ASK | asked)
    assert response.status_code == 200, response.text
    assert "x-param-adjustments" not in response.headers
    answers = events_of(response) if asked["stream"] else [response.json()]
    for one in answers:
        check_shape(openai_answers.RESPONSE_EVENT if asked["stream"] else openai_answers.RESPONSE, one)
    last = answers[-1]["response"] if asked["stream"] else answers[-1]
    (call,) = last["output"]
    given: str = call["input"] if call["type"] == "custom_tool_call" else call["arguments"]
    if asked["stream"]:
        assert "".join(one["delta"] for one in answers if one["type"].endswith(".delta")) == given
    assert ([tool.get("format") for tool in last["tools"]], last["tool_choice"]) == (
        [tool.get("format") for tool in asked["tools"]],
        asked["tool_choice"],
    )
    return call["name"], given


def call_of_chat(http: httpx.Client, **asked: Any) -> tuple[str, str]:
    response = http.post("/v1/chat/completions", json=CHAT_ASK | asked)
    assert response.status_code == 200, response.text
    assert "x-param-adjustments" not in response.headers
    name = given = ""
    for one in events_of(response) if asked["stream"] else [response.json()]:
        (choice,) = one["choices"]
        said = choice["delta" if asked["stream"] else "message"]
        assert not said.get("content")
        for call in said.get("tool_calls", ()):
            fields = call.get("custom") or call["function"]
            name += fields.get("name", "")
            given += fields.get("input", "") + fields.get("arguments", "")
    return name, given


@STREAMED
def test_a_named_tool_s_input_follows_its_grammar(http: httpx.Client, stream: bool) -> None:
    inputs = set()
    for seed in SEEDS:
        given = call_of_response(http, tools=[RINGING, PAIRING], tool_choice=NAMED, stream=stream, seed=seed)
        assert given[0] == "pair"
        chat = {"tools": [chat_tool(RINGING), chat_tool(PAIRING)], "tool_choice": chat_tool(NAMED)}
        inputs |= {given, call_of_chat(http, **chat, stream=stream, seed=seed)}
    for given in inputs:
        check(*given)
    assert len(inputs) > 1


@STREAMED
@pytest.mark.parametrize("name", ["pair", "date"])
def test_a_tool_that_the_model_chose_holds_its_own_format(http: httpx.Client, stream: bool, name: str) -> None:
    tools = [RINGING, DATING, PAIRING]
    calls = set()
    for seed in SEEDS:
        asked = {"tool_choice": "required", "stream": stream, "seed": seed, "logit_bias": {token_of(http, name[0]): 4}}
        calls.add(call_of_response(http, tools=tools, **asked))
        calls.add(call_of_chat(http, tools=list(map(chat_tool, tools)), **asked))
    for call in calls:
        check(*call)
    assert len({given for called, given in calls if called == name}) > 1


CODEX: dict[str, Any] = {
    "model": MODEL,
    "instructions": "You are a coding agent.",
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Add a file."}]}],
    "tools": [
        {"type": "function", "name": "shell", "strict": False,
         "parameters": {"type": "object", "properties": {"command": {"type": "array", "items": {"type": "string"}}}}},
        {"type": "function", "name": "update_plan", "strict": False,
         "parameters": {"type": "object", "properties": {"explanation": {"type": "string"}}}},
        {"type": "custom", "name": "apply_patch", "format": lark_format(PATCHES),
         "description": "Use the `apply_patch` tool to edit files. It takes text, no JSON."},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "3f0c8a52-3a0e-4a0b-9a51-0c6c8f1c1d55",
}  # fmt: skip


def test_what_codex_sends_is_served(http: httpx.Client) -> None:
    answer = http.post("/v1/responses", json=CODEX | {"max_output_tokens": 8})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-param-adjustments"] == "store;action=ignore"
    events = events_of(answer)
    for event in events:
        check_shape(openai_answers.RESPONSE_EVENT, event)
    assert events[-1]["response"]["tools"][2] == CODEX["tools"][2]


def test_a_patch_of_codex_is_one(http: httpx.Client) -> None:
    """With a newline the likeliest token, so that lines end."""
    likely = {"tool_choice": {"type": "custom", "name": "apply_patch"}, "logit_bias": {token_of(http, "\n"): 6}}
    for seed in itertools.count():
        assert seed < 20
        last = events_of(http.post("/v1/responses", json=CODEX | likely | {"seed": seed, "max_output_tokens": 800}))[-1]
        (call,) = last["response"]["output"]
        assert call["input"].startswith("*** Begin Patch\n*** ")
        if call["status"] == "completed":
            assert IS_PATCH.fullmatch(call["input"]), call["input"]
            return


HOSTILE = {
    "not closed": 'start: "a',
    "undefined": "start: line",
    "a rule that never ends": 'start: "a" start',
    "a file": "%import .secrets.KEY\nstart: KEY",
    "another library": "%import python.name\nstart: name",
    "deep": "start: " + "(" * 4000 + '"a"' + ")" * 4000,
    "repeated": "start: /((a{99}){99}){99}/",
    "doubled": "start: T0\n" + "\n".join(f"T{n}: T{n + 1} T{n + 1}" for n in range(40)) + '\nT40: "a"',
    "long": "start: " + "|".join(['"a"'] * 3000),
    "a special token": "start: <|im_end|>",
    "JSON of the engine": "start: %json {}",
}


@pytest.mark.parametrize("definition", HOSTILE.values(), ids=HOSTILE)
def test_a_grammar_that_cannot_be_used_is_refused_where_it_stands(http: httpx.Client, definition: str) -> None:
    tool = PAIRING | {"format": lark_format(definition)}
    answer = http.post("/v1/responses", json=ASK | {"tools": [tool], "tool_choice": "auto"})
    assert_error(answer, 400, "invalid_request_error", "invalid_value", "tools.0.format.definition")
    answer = http.post("/v1/chat/completions", json=CHAT_ASK | {"tools": [chat_tool(tool)]})
    place = "tools.0.custom.format.grammar.definition"
    assert_error(answer, 400, "invalid_request_error", "invalid_value", place)


def test_an_ambiguous_grammar_fails_alone(http: httpx.Client) -> None:
    """Its request, before its answer could pass for a whole one; the engine goes on."""
    tool = PAIRING | {"format": lark_format('start: start start start | start start | "a"')}
    asked = ASK | {"tools": [tool], "tool_choice": NAMED, "max_output_tokens": 1500, "logit_bias": {"3": -100}}
    answer = http.post("/v1/responses", json=asked)
    assert_error(answer, 502, "server_error", "upstream_error")
    assert call_of_response(http, tools=[PAIRING], tool_choice=NAMED, stream=False)
