"""POST /v1/responses with the openai package, strict about its types: the wire, not the model's skill."""

import json
from typing import Any

import httpx
import pytest

from tests.contract.conftest import MODEL
from tests.contract.test_errors import NO_RANGE
from tests.contract.weather import SCHEMA, assert_fits
from tests.unit.conftest import assert_error

RESPONSES = "/v1/responses"
FORMAT = {"format": {"type": "json_schema", "name": "weather", "strict": True, "schema": SCHEMA}}
TOOL = {"type": "function", "name": "get_weather", "description": "The weather.", "parameters": SCHEMA, "strict": True}
# What a Response has, always.
FIELDS = {
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id",
    "instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p",
    "presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage", "max_output_tokens",
    "max_tool_calls", "store", "background", "service_tier", "metadata", "safety_identifier", "prompt_cache_key",
}  # fmt: skip


def body_of(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": "Say something.", "max_output_tokens": 6, "logit_bias": {"3": -100}} | changes


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream that ended well; each has its type twice, and they are numbered."""
    *blocks, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    events = []
    for number, block in enumerate(blocks):
        first, second = block.split("\n")
        event = json.loads(second.removeprefix("data: "))
        assert first == f"event: {event['type']}"
        assert event["sequence_number"] == number
        events.append(event)
    return events


def test_a_response_has_every_field_and_no_other(http: httpx.Client) -> None:
    body = body_of(instructions="Be brief.", metadata={"order": "42"}, safety_identifier="somebody", temperature=0.5)
    response = http.post(RESPONSES, json=body).json()
    assert set(response) == FIELDS
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (response["instructions"], response["temperature"]) == ("Be brief.", 0.5)
    assert (response["metadata"], response["safety_identifier"]) == ({"order": "42"}, "somebody")
    assert (response["store"], response["service_tier"]) == (False, "default")
    (item,) = response["output"]
    assert (item["status"], item["role"]) == ("incomplete", "assistant")
    assert set(item) == {"id", "type", "role", "status", "content"}
    assert set(item["content"][0]) == {"type", "text", "annotations", "logprobs"}
    assert response["usage"]["output_tokens"] == 6


def test_the_client_reads_it(client: Any) -> None:
    response = client.responses.create(model=MODEL, input="Say something.", max_output_tokens=300)
    assert isinstance(response.output_text, str)
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


async def test_a_conversation_of_items(async_client: Any) -> None:
    response = await async_client.responses.create(
        model=MODEL,
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        ],
        tools=[TOOL],
        max_output_tokens=4,
    )
    assert response.tools[0].name == "get_weather"


def test_a_stream_has_every_event_in_order(http: httpx.Client) -> None:
    events = events_of(http.post(RESPONSES, json=body_of(stream=True, metadata={"a": "b"})))
    kinds = [event["type"].removeprefix("response.") for event in events]
    deltas = kinds.count("output_text.delta")
    assert kinds == [
        "created", "in_progress", "output_item.added", "content_part.added", *["output_text.delta"] * deltas,
        "output_text.done", "content_part.done", "output_item.done", "incomplete",
    ]  # fmt: skip
    first, last = events[0]["response"], events[-1]["response"]
    assert set(first) == set(last) == FIELDS
    assert (first["status"], first["usage"]["total_tokens"], first["metadata"]) == ("in_progress", 0, {"a": "b"})
    assert (last["status"], last["usage"]["output_tokens"]) == ("incomplete", 6)
    assert events[-2]["item"] == last["output"][0], "an item ends twice, and differs"
    assert events[-2]["item"]["status"] == "incomplete"
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert text == last["output"][0]["content"][0]["text"]


def test_the_client_s_streaming_helper_reads_it(client: Any) -> None:
    with client.responses.stream(model=MODEL, input="Say something.", text=FORMAT, max_output_tokens=64) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert final.status == "completed"
    assert_fits(json.loads(final.output_text))


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "get_weather"}], ids=["required", "named"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_forced_call_fits_its_schema(http: httpx.Client, choice: Any, stream: bool) -> None:
    body = body_of(tools=[TOOL], tool_choice=choice, parallel_tool_calls=False, max_output_tokens=400, stream=stream)
    answer = http.post(RESPONSES, json=body | {"logit_bias": {}})
    if stream:
        events = events_of(answer)
        response = events[-1]["response"]
        deltas = [e["delta"] for e in events if e["type"] == "response.function_call_arguments.delta"]
        assert "".join(deltas) == response["output"][0]["arguments"]
    else:
        response = answer.json()
    assert set(response["tools"][0]) == {"type", "name", "description", "parameters", "strict"}
    call = response["output"][0]
    assert set(call) == {"id", "type", "status", "call_id", "name", "arguments"}
    assert_fits(json.loads(call["arguments"]))


def test_logprobs_are_there_where_requested(http: httpx.Client) -> None:
    body = body_of(include=["message.output_text.logprobs"], top_logprobs=2)
    (part,) = http.post(RESPONSES, json=body).json()["output"][0]["content"]
    assert len(part["logprobs"]) == 6
    assert all(len(token["top_logprobs"]) == 2 for token in part["logprobs"])


def test_null_means_absent(http: httpx.Client) -> None:
    nulls = dict.fromkeys(
        ("previous_response_id", "conversation", "background", "truncation", "user", "include", "metadata", "text")
    )
    assert http.post(RESPONSES, json=body_of(**nulls)).status_code == 200


def test_what_was_changed_stands_in_the_header(http: httpx.Client) -> None:
    response = http.post(RESPONSES, json=body_of(top_p=3, store=True, text={"verbosity": "low"}, surprise=1))
    assert response.headers["x-param-adjustments"] == (
        'top_p;action=clamp;from=3;to=1.0, store;action=ignore, text.verbosity;action=drop;'
        'reason="the model\'s template does not read it", surprise;action=drop;reason="unknown parameter"'
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"previous_response_id": "resp_1"}, 400, "unsupported_parameter", "previous_response_id"),
        ({"conversation": "conv_1"}, 400, "unsupported_parameter", "conversation"),
        ({"background": True}, 400, "unsupported_parameter", "background"),
        ({"tools": [{"type": "web_search"}]}, 400, "unsupported_parameter", "tools.0"),
        ({"tools": [{"type": "computer_use_preview"}]}, 400, "unsupported_parameter", "tools.0"),
        ({"tools": [TOOL] * 2}, 400, "invalid_value", "tools"),
        ({"input": []}, 400, "invalid_value", "input"),
        ({"input": None}, 400, "missing_required_parameter", "input"),
        ({"input": [{"type": "telepathy"}]}, 400, "invalid_value", "input.0.type"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": "y"}]}, 400, "invalid_value",
         "input.0.call_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]}, 400,
         "unsupported_capability", "input.0.content.0"),
        ({"input": "word " * 3000}, 422, "context_length_exceeded", "input"),
        ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "nonsense"}}}}, 422,
         "invalid_json_schema", "text.format.schema"),
        # What only the engine finds, and reports only after its own 200 where the answer is a stream.
        ({"text": {"format": {"type": "json_schema", "name": "a", "schema": NO_RANGE}}}, 422, "invalid_json_schema",
         "text.format"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_done_has_a_status(
    http: httpx.Client, changes: Any, status: int, code: str, param: str, stream: bool
) -> None:
    response = http.post(RESPONSES, json=body_of(stream=stream, **changes))
    assert_error(response, status, "invalid_request_error", code, param)
