"""Calls of custom tools as vLLM answers them, and what the contract makes of them, on each route."""

import json
from typing import Any

import pytest
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from contract import sse
from contract.custom_tools import CustomCalls
from contract.protocol import RequestHead
from contract.responses import NO_USAGE
from deployments.vllm.chat import ChatDialect
from deployments.vllm.responses import ResponsesDialect
from tests import openai_answers
from tests.openai_answers import check_shape

FUNCTIONS = CustomCalls(("apply_patch", "run"))
ANSWER = CustomCalls(("apply_patch",), "apply_patch")
COMMON = {"id": "x", "created": 1, "model": "m"}


def head(calls: CustomCalls) -> RequestHead:
    return RequestHead("/", "4f0c9e4c-0000-4000-8000-000000000000", False, {}, custom_calls=calls)


def arguments(text: str) -> str:
    return json.dumps({"input": text})


def function(name: str, given: str, **more: Any) -> dict[str, Any]:
    return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": given}} | more


def whole(calls: CustomCalls, reason: str = "stop", **message: Any) -> dict[str, Any]:
    """The message that the client gets."""
    said = {"role": "assistant", "content": None, "refusal": None} | message
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": reason}
    body = COMMON | {"object": "chat.completion", "choices": [choice]}
    answer = json.loads(ChatDialect().body(json.dumps(body).encode(), head(calls))[0])
    check_shape(openai_answers.CHAT, answer)
    made: dict[str, Any] = answer["choices"][0]["message"]
    return made


def streamed(calls: CustomCalls, *deltas: dict[str, Any], reason: str = "stop") -> list[dict[str, Any]]:
    """The deltas that the client gets. OpenAI's type knows their fields, but only one `type` of a call."""
    stream, found = ChatDialect().stream(head(calls)), []
    ends: list[str | None] = [None] * len(deltas)
    for delta, end in [*zip(deltas, ends, strict=True), ({}, reason)]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
        events = stream.feed(sse.event(COMMON | {"object": "chat.completion.chunk", "choices": [choice]}))
        for event in sse.Splitter().feed(events):
            chunk = json.loads(event.removeprefix(b"data: "))
            found.append(json.loads(json.dumps(chunk["choices"][0]["delta"])))
            for call in chunk["choices"][0]["delta"].get("tool_calls", ()):
                assert call.pop("type", "custom") in ("custom", "function")
            check_shape(openai_answers.CHAT_CHUNK, chunk)
    return found


def inputs(deltas: list[dict[str, Any]]) -> dict[int, str]:
    """Each call's input, added up."""
    texts: dict[int, str] = {}
    for call in [call for delta in deltas for call in delta.get("tool_calls", ()) if "custom" in call]:
        texts[call["index"]] = texts.get(call["index"], "") + call["custom"]["input"]
    return texts


TEXTS = ["", "a", 'say "hi"\n\\ \t/', "é 😀 \ud83d\udc4d".encode("utf-16", "surrogatepass").decode("utf-16"), "}" * 300]


@pytest.mark.parametrize("text", TEXTS)
def test_a_function_s_one_argument_is_the_input(text: str) -> None:
    message = whole(FUNCTIONS, tool_calls=[function("apply_patch", arguments(text)), function("ring", "{}")])
    assert message["tool_calls"] == [
        {"id": "call_apply_patch", "type": "custom", "custom": {"name": "apply_patch", "input": text}},
        function("ring", "{}"),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("text", TEXTS)
def test_a_streamed_input_adds_up_however_its_json_is_cut(text: str, size: int) -> None:
    given = arguments(text)
    parts = [{"index": 0, "function": {"arguments": given[at : at + size]}} for at in range(0, len(given), size)]
    begins = function("apply_patch", "", index=0)
    deltas = streamed(FUNCTIONS, *({"tool_calls": [call]} for call in [begins, *parts]))
    assert deltas[0]["tool_calls"] == [
        {"index": 0, "id": "call_apply_patch", "type": "custom", "custom": {"name": "apply_patch", "input": ""}}
    ]
    assert all(call.keys() == {"index", "custom"} for delta in deltas[1:] for call in delta.get("tool_calls", ()))
    assert inputs(deltas) == {0: text}


def test_calls_of_both_kinds_are_streamed_side_by_side() -> None:
    deltas = streamed(
        FUNCTIONS,
        {"role": "assistant", "content": ""},
        {"tool_calls": [function("ring", "{}", index=0)]},
        {"tool_calls": [function("run", arguments("ls"), index=1), function("apply_patch", '{"inp', index=2)]},
        {"tool_calls": [{"index": 2, "function": {"arguments": 'ut": "a'}}]},
        {"tool_calls": [{"index": 2, "function": {"arguments": 'b"}'}}]},
        reason="tool_calls",
    )
    assert deltas[1]["tool_calls"] == [function("ring", "{}", index=0)]
    assert inputs(deltas) == {1: "ls", 2: "ab"}


ODD = ["rm -rf", '{"input": 5}', "{}", '{"other": "a"}', " " * 300, '{"input": "a']


@pytest.mark.parametrize("given", ODD)
def test_arguments_of_another_form_are_not_lost(given: str) -> None:
    """Where the engine guides no call, a model may write what it likes."""
    expected = "a" if given == ODD[-1] else given
    assert whole(FUNCTIONS, tool_calls=[function("run", given)])["tool_calls"][0]["custom"]["input"] == expected
    parts = [{"tool_calls": [{"index": 0, "function": {"arguments": one}}]} for one in given]
    assert inputs(streamed(FUNCTIONS, {"tool_calls": [function("run", "", index=0)]}, *parts)) == {0: expected}


@pytest.mark.parametrize(
    ("given", "text"), [('{"inp', ""), ('{"input": "a\\', "a"), (r'{"input": "a\ud83d', "a"), ('{"input": "ab', "ab")]
)
def test_an_input_that_the_limit_cuts_is_as_far_as_it_goes(given: str, text: str) -> None:
    call = function("run", given)
    assert whole(FUNCTIONS, "length", tool_calls=[call])["tool_calls"][0]["custom"]["input"] == text
    assert inputs(streamed(FUNCTIONS, {"tool_calls": [call | {"index": 0}]}, reason="length")) == {0: text}


def test_half_of_a_character_is_replaced() -> None:
    assert whole(FUNCTIONS, tool_calls=[function("run", r'{"input": "a\ud83d b"}')])["tool_calls"][0]["custom"] == {
        "name": "run",
        "input": "a? b",
    }


def test_the_whole_text_is_the_input_of_a_tool_with_a_grammar() -> None:
    message = whole(ANSWER, content="2026-11-30")
    (call,) = message["tool_calls"]
    assert (message["content"], call["type"]) == (None, "custom")
    assert call["custom"] == {"name": "apply_patch", "input": "2026-11-30"}
    assert call["id"].startswith("call_4f0c9e4c")


def test_the_streamed_text_is_the_input_of_a_tool_with_a_grammar() -> None:
    first, *deltas = streamed(ANSWER, {"role": "assistant", "content": ""}, {"content": "2026"}, {"content": "-11"})
    assert first == {"role": "assistant", "content": None}
    assert deltas[0]["tool_calls"][0].keys() == {"index", "id", "type", "custom"}
    assert deltas[0]["tool_calls"][0]["custom"] == {"name": "apply_patch", "input": "2026"}
    assert deltas[1:] == [{"tool_calls": [{"index": 0, "custom": {"input": "-11"}}]}, {}]


@pytest.mark.parametrize(("reason", "is_called"), [("stop", True), ("length", False)])
def test_an_empty_text_is_an_input_unless_it_was_cut_before(reason: str, is_called: bool) -> None:
    assert ("tool_calls" in whole(ANSWER, reason, content="")) == is_called
    assert bool(inputs(streamed(ANSWER, {"role": "assistant", "content": ""}, reason=reason))) == is_called


@pytest.mark.parametrize(
    ("calls", "deltas"),
    [
        (FUNCTIONS, [{"tool_calls": [function("run", '{"input": "l', index=0)]},
                     {"tool_calls": [{"index": 0, "function": {"arguments": 's"}'}}]}]),
        (CustomCalls(("run",), "run"), [{"content": "l"}, {"content": "s"}]),
    ],
    ids=["function", "grammar"],
)  # fmt: skip
def test_openai_s_own_accumulator_adds_the_deltas_up(calls: CustomCalls, deltas: list[Any]) -> None:
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for delta in streamed(calls, {"role": "assistant", "content": ""}, *deltas):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        data = COMMON | {"object": "chat.completion.chunk", "choices": [choice]}
        state.handle_chunk(construct_type(type_=ChatCompletionChunk, value=data))  # type: ignore[arg-type]
    found: Any = state.current_completion_snapshot.choices[0].message.tool_calls
    (made,) = [call.to_dict() for call in found]
    assert (made["type"], made["custom"]) == ("custom", {"name": "run", "input": "ls"})


MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
SAID: dict[str, Any] = MESSAGE | {
    "content": [{"type": "output_text", "text": "2026-11", "annotations": [], "logprobs": None}]
}
THOUGHT: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": [], "status": None}
REQUESTED = {
    "tools": [{"type": "custom", "name": "apply_patch"}],
    "tool_choice": {"type": "custom", "name": "apply_patch"},
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": [],
    "tools": [], "tool_choice": "none", "parallel_tool_calls": True, "text": None, "usage": NO_USAGE, "reasoning": None,
    "metadata": None, "incomplete_details": None, "instructions": None, "temperature": 1.0, "top_p": 1.0,
    "presence_penalty": 0.0, "frequency_penalty": 0.0, "truncation": "disabled", "max_output_tokens": 9,
    "max_tool_calls": None,
}  # fmt: skip
OF_RESPONSE = head(CustomCalls(answer="apply_patch", request=REQUESTED))


def test_the_message_of_a_response_is_the_call_and_it_repeats_what_was_asked() -> None:
    body = json.dumps(RESPONSE | {"output": [THOUGHT, SAID]}).encode()
    response = json.loads(ResponsesDialect().body(body, OF_RESPONSE)[0])
    check_shape(openai_answers.RESPONSE, response)
    thought, call = response["output"]
    assert (thought["type"], call["type"], call["name"]) == ("reasoning", "custom_tool_call", "apply_patch")
    assert (call["input"], call["status"]) == ("2026-11", "completed")
    assert {name: response[name] for name in REQUESTED} == REQUESTED


def test_a_call_of_a_response_that_the_limit_cuts_is_incomplete() -> None:
    body = json.dumps(RESPONSE | {"status": "incomplete", "output": [SAID]}).encode()
    (call,) = json.loads(ResponsesDialect().body(body, OF_RESPONSE)[0])["output"]
    assert (call["type"], call["status"]) == ("custom_tool_call", "incomplete")


def test_the_events_of_a_message_are_those_of_the_call() -> None:
    place = {"item_id": "msg_1", "output_index": 0}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    opening = RESPONSE | {"status": "in_progress", "usage": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": opening},
        {"type": "response.in_progress", "response": opening},
        {"type": "response.output_item.added", "output_index": 0, "item": MESSAGE | {"content": []}},
        {"type": "response.content_part.added", **place, "content_index": 0, "part": part},
        {"type": "response.output_text.delta", **place, "content_index": 0, "delta": "2026", "logprobs": []},
        {"type": "response.output_text.delta", **place, "content_index": 0, "delta": "-11", "logprobs": []},
        {"type": "response.output_text.done", **place, "content_index": 0, "text": "2026-11", "logprobs": []},
        {"type": "response.content_part.done", **place, "content_index": 0, "part": part | {"text": "2026-11"}},
        {"type": "response.output_item.done", "output_index": 0, "item": SAID},
        {"type": "response.completed", "response": RESPONSE | {"output": [SAID]}},
    ]
    stream = ResponsesDialect().stream(OF_RESPONSE)
    written = b"".join(
        stream.feed(sse.event(event | {"sequence_number": number}, event["type"]))
        for number, event in enumerate(events)
    )
    *found, done = [one.partition(b"data: ")[2] for one in written.split(b"\n\n") if one]
    assert done == b"[DONE]"
    got = [json.loads(one) for one in found]
    for event in got:
        check_shape(openai_answers.RESPONSE_EVENT, event)
    assert [event["type"].removeprefix("response.") for event in got] == [
        "created", "in_progress", "output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.delta",
        "custom_tool_call_input.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in got] == list(range(8))
    assert [event["delta"] for event in got[3:5]] == ["2026", "-11"]
    added, ended, last = got[2]["item"], got[6]["item"], got[7]["response"]["output"][0]
    assert added == ended | {"input": "", "status": added["status"]}
    assert (ended, ended["input"], got[5]["input"]) == (last, "2026-11", "2026-11")
    assert {event["item_id"] for event in got[3:6]} == {ended["id"]}
    assert all(event["response"]["tool_choice"] == REQUESTED["tool_choice"] for event in got if "response" in event)


def test_without_a_grammar_a_response_s_message_stays_one() -> None:
    calls = CustomCalls(request=REQUESTED)
    body = json.dumps(RESPONSE | {"output": [SAID]}).encode()
    (item,) = json.loads(ResponsesDialect().body(body, head(calls))[0])["output"]
    assert item["type"] == "message"
