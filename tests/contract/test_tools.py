"""Function tools of chat and responses: the wire, not the model's skill. Grammar makes a forced call right."""

import json
from collections.abc import Iterable
from typing import Any

import httpx
import openai
import pytest

from tests.contract.conftest import MESSAGES, MODEL, VISION_MODEL
from tests.contract.test_responses import events_of
from tests.contract.weather import SCHEMA, Weather, assert_fits
from tests.unit.conftest import assert_error

NAMES = ("get_weather", "get_climate")
INVALID = "invalid_request_error"


def tool(name: str, parameters: Any = SCHEMA) -> dict[str, Any]:
    """A tool of chat."""
    return {"type": "function", "function": {"name": name, "description": "The weather.", "parameters": parameters}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def flat(tool: dict[str, Any]) -> dict[str, Any]:
    """The same tool, or choice of one, of responses."""
    return {"type": "function", **tool["function"]}


TOOLS = [tool(name) for name in NAMES]
ASK = {"model": MODEL, "messages": MESSAGES, "tools": TOOLS, "max_tokens": 600, "seed": 1}
FORCED = pytest.mark.parametrize("choice", ["required", named("get_climate")], ids=["required", "named"])


def assert_call(function: Any, choice: Any) -> None:
    assert function.name in (NAMES if choice == "required" else NAMES[1:])
    assert_fits(json.loads(function.arguments))


@FORCED
def test_a_forced_call_fits_its_schema(client: Any, choice: Any) -> None:
    answer = client.chat.completions.create(**ASK, tool_choice=choice, parallel_tool_calls=False, n=4)
    for made in answer.choices:
        (call,) = made.message.tool_calls
        assert made.finish_reason == ("tool_calls" if choice == "required" else "stop")
        assert_call(call.function, choice)


@FORCED
def test_a_forced_call_ends_at_any_temperature(client: Any, choice: Any) -> None:
    """Without a bound the likeliest token of a model may be a blank, for ever."""
    for temperature in (0, 0.1):
        answer = client.chat.completions.create(**ASK, tool_choice=choice, temperature=temperature)
        assert answer.choices[0].message.content is None
        assert_call(answer.choices[0].message.tool_calls[0].function, choice)


@FORCED
def test_a_streamed_call_concatenates_to_its_arguments(client: Any, choice: Any) -> None:
    chunks = list(client.chat.completions.create(**ASK, tool_choice=choice, parallel_tool_calls=False, stream=True))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert {call.index for call in calls} == {0}
    assert [call.id for call in calls if call.id] == [calls[0].id]
    names = [call.function.name for call in calls if call.function.name]
    assert len(names) == 1
    assert names[0] in NAMES
    assert_fits(json.loads("".join(call.function.arguments or "" for call in calls)))
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason]
    assert reasons == ["tool_calls" if choice == "required" else "stop"]


def test_several_calls_at_once_each_fit_and_have_their_own_id(client: Any) -> None:
    answer = client.chat.completions.create(**ASK, tool_choice="required", parallel_tool_calls=True, n=8)
    complete = [choice for choice in answer.choices if choice.finish_reason == "tool_calls"]
    assert max(len(choice.message.tool_calls) for choice in complete) > 1
    for choice in complete:
        calls = choice.message.tool_calls
        assert len({call.id for call in calls}) == len(calls)
        for call in calls:
            assert_call(call.function, "required")


def test_several_calls_at_once_are_streamed_one_after_the_other(client: Any) -> None:
    chunks = list(client.chat.completions.create(**ASK, tool_choice="required", stream=True, n=8))
    several = 0
    for number in range(8):
        choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == number]
        assert sum(choice.finish_reason is not None for choice in choices) == 1
        if choices[-1].finish_reason == "length":
            continue
        calls = [call for choice in choices for call in choice.delta.tool_calls or []]
        order = [call.index for call in calls]
        assert order == sorted(order)
        several += order[-1] > 0
        for index in range(order[-1] + 1):
            parts = [call for call in calls if call.index == index]
            assert len([part.id for part in parts if part.id]) == 1
            assert_fits(json.loads("".join(part.function.arguments or "" for part in parts)))
    assert several


# Token limits: within the markup, the name, the arguments, the next call.
CUTS = (1, 3, 6, 10, 14, 18, 22, 26, 30, 34, 38, 42, 46, 50, 60, 70, 80, 100)
Calls = list[tuple[str, str]]  # each call's name and arguments


def begins(cut: Calls, complete: Calls) -> bool:
    """Whether `cut` is what a limit leaves of `complete`."""
    if not cut:
        return True
    *whole, (name, arguments) = cut
    expected_name, expected_arguments = complete[len(whole)]
    return whole == complete[: len(whole)] and name == expected_name and expected_arguments.startswith(arguments)


def chat_calls(client: Any, **changes: Any) -> list[tuple[str, str, Calls]]:
    """Of each choice its finish reason, its text and its calls."""
    choices = client.chat.completions.create(**ASK | changes).choices
    return [
        (
            choice.finish_reason,
            choice.message.content or "",
            [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or []],
        )
        for choice in choices
    ]


def streamed_chat_calls(client: Any, **changes: Any) -> list[tuple[str, str, Calls]]:
    """The same, of a stream."""
    found: dict[int, tuple[str, str, Calls]] = {}
    for chunk in client.chat.completions.create(**ASK | changes, stream=True):
        (choice,) = chunk.choices
        reason, text, calls = found.get(choice.index, ("", "", []))
        for call in choice.delta.tool_calls or []:
            calls += [("", "")] * (call.index + 1 - len(calls))
            name, arguments = calls[call.index]
            calls[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
        found[choice.index] = (reason + (choice.finish_reason or ""), text + (choice.delta.content or ""), calls)
    return [found[index] for index in sorted(found)]


@pytest.mark.parametrize("read", [chat_calls, streamed_chat_calls], ids=["whole", "streamed"])
@FORCED
def test_a_call_that_the_limit_cuts_is_a_call_as_far_as_it_goes(client: Any, choice: Any, read: Any) -> None:
    """Several choices at once: some make one call, some several. Nothing of the markup is text."""
    settings = {"tool_choice": choice, "n": 8}
    complete = [calls for _, _, calls in chat_calls(client, **settings)]
    assert max(map(len, complete)) > (choice == "required")
    cut_within_arguments = 0
    for limit in CUTS:
        for (reason, text, calls), expected in zip(read(client, **settings, max_tokens=limit), complete, strict=True):
            assert text == ""
            assert begins(calls, expected)
            assert reason == "length" or calls == expected
            cut_within_arguments += bool(calls) and calls != expected[: len(calls)]
    assert cut_within_arguments


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("choice", ["required", flat(named("get_climate"))], ids=["required", "named"])
def test_a_call_of_responses_that_the_limit_cuts_is_incomplete(http: httpx.Client, choice: Any, stream: bool) -> None:
    body = {"model": MODEL, "input": "hi", "tools": [flat(one) for one in TOOLS], "tool_choice": choice}
    body |= {"temperature": 0, "stream": stream}

    def respond(limit: int) -> dict[str, Any]:
        answer = http.post("/v1/responses", json=body | {"max_output_tokens": limit})
        return events_of(answer)[-1]["response"] if stream else answer.json()

    expected = [(item["name"], item["arguments"]) for item in respond(600)["output"]]
    statuses = set()
    for limit in CUTS:
        response = respond(limit)
        assert {item["type"] for item in response["output"]} <= {"function_call"}
        assert begins([(item["name"], item["arguments"]) for item in response["output"]], expected)
        if response["status"] == "incomplete":
            assert response["incomplete_details"] == {"reason": "max_output_tokens"}
            statuses |= {item["status"] for item in response["output"][-1:]}
            assert {item["status"] for item in response["output"][:-1]} <= {"completed"}
    assert "incomplete" in statuses


def turns(*pairs: tuple[str, Any]) -> Iterable[dict[str, Any]]:
    for call_id, result in pairs:
        call = {"id": call_id, "type": "function", "function": {"name": NAMES[0], "arguments": "{}"}}
        yield {"role": "assistant", "tool_calls": [call]}
        yield {"role": "tool", "tool_call_id": call_id, "content": result}


def test_results_of_several_turns_go_back_to_the_model(client: Any) -> None:
    settings = ASK | {"max_tokens": 4}
    before = client.chat.completions.create(**settings)
    settings["messages"] = [*MESSAGES, *turns(("c1", "sunny"), ("c2", "windy"))]
    answer = client.chat.completions.create(**settings)
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage.prompt_tokens > before.usage.prompt_tokens


def test_results_of_calls_made_at_once_may_come_in_any_order(client: Any) -> None:
    calls = [{"id": i, "type": "function", "function": {"name": NAMES[0], "arguments": "{}"}} for i in ("a", "b")]
    results = [{"role": "tool", "tool_call_id": call_id, "content": "sunny"} for call_id in ("b", "a")]
    messages = [*MESSAGES, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    answer = client.chat.completions.create(**ASK | {"messages": messages, "max_tokens": 4})
    assert answer.choices[0].message.role == "assistant"


def test_a_result_may_be_an_array_of_parts(client: Any) -> None:
    messages = [*MESSAGES, *turns(("c1", [{"type": "text", "text": "sunny"}]))]
    answer = client.chat.completions.create(**ASK | {"messages": messages, "max_tokens": 4})
    assert answer.choices[0].message.role == "assistant"


def test_a_choice_of_none_calls_nothing(client: Any) -> None:
    answer = client.chat.completions.create(**ASK | {"max_tokens": 8}, tool_choice="none")
    assert not answer.choices[0].message.tool_calls


def test_the_client_s_parse_reads_the_arguments(client: Any) -> None:
    answer = client.chat.completions.parse(
        **ASK | {"tools": [openai.pydantic_function_tool(Weather)]}, tool_choice="required", parallel_tool_calls=False
    )
    (call,) = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/responses"])
def test_a_model_without_tools_in_its_template_says_so(http: httpx.Client, route: str) -> None:
    chat = route == "/v1/chat/completions"
    body = {"messages": MESSAGES, "tools": TOOLS} if chat else {"input": "hi", "tools": [flat(TOOLS[0])]}
    response = http.post(route, json=body | {"model": VISION_MODEL})
    assert_error(response, 400, INVALID, "unsupported_capability", "tools")
    assert "`tools`" in response.json()["error"]["message"]


BAD: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "a thousand tools": ({"tools": [tool(f"f{number}") for number in range(1000)]}, 400, "invalid_value", "tools"),
    "no tools": ({"tools": []}, 400, "invalid_value", "tools"),
    "two of one name": ({"tools": [TOOLS[0]] * 2}, 400, "invalid_value", "tools"),
    "a choice without tools": ({"tools": None, "tool_choice": "required"}, 400, "invalid_value", "tool_choice"),
    "a choice of no tool": ({"tool_choice": named("other")}, 400, "invalid_value", "tool_choice"),
    "a choice of no kind": ({"tool_choice": "sometimes"}, 400, "invalid_value", "tool_choice"),
    "parameters that are no schema": ({"tools": [tool("f", {"type": "nonsense"})]}, 422, "invalid_json_schema", None),
    "parameters that are no object": ({"tools": [tool("f", "x")]}, 400, "invalid_type", None),
    "a name with a space": ({"tools": [tool("a b")]}, 400, "invalid_value", None),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", BAD)
def test_bad_tools_of_chat(http: httpx.Client, fault: str, stream: bool) -> None:
    changes, status, code, param = BAD[fault]
    response = http.post("/v1/chat/completions", json=ASK | {"stream": stream} | changes)
    assert_error(response, status, INVALID, code, param or response.json()["error"]["param"])


@pytest.mark.parametrize("fault", [fault for fault in BAD if fault != "no tools"])
def test_bad_tools_of_responses(http: httpx.Client, fault: str) -> None:
    changes, status, code, param = BAD[fault]
    body: dict[str, Any] = {"model": MODEL, "input": "hi", "tools": [flat(TOOLS[0])]} | changes
    if body["tools"]:
        body["tools"] = [flat(one) if "function" in one else one for one in body["tools"]]
    if isinstance(body.get("tool_choice"), dict):
        body["tool_choice"] = flat(body["tool_choice"])
    response = http.post("/v1/responses", json=body)
    assert_error(response, status, INVALID, code, param or response.json()["error"]["param"])


@pytest.mark.parametrize("model", [MODEL, VISION_MODEL])
def test_no_tools_of_responses_are_legal_as_they_are_at_openai(http: httpx.Client, model: str) -> None:
    body = {"model": model, "input": "hi", "tools": [], "tool_choice": "auto", "max_output_tokens": 4}
    response = http.post("/v1/responses", json=body)
    assert response.status_code == 200
    assert response.json()["tools"] == []


def test_a_result_without_its_call(http: httpx.Client) -> None:
    messages = [*MESSAGES, {"role": "tool", "tool_call_id": "c9", "content": "sunny"}]
    response = http.post("/v1/chat/completions", json=ASK | {"messages": messages})
    assert_error(response, 400, INVALID, "invalid_value", "messages.1.tool_call_id")
