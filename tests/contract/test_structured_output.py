"""Answers that must be JSON: of any shape, of a schema, read by the openai package's own helpers."""

import json
from typing import Any

import httpx
import jsonschema
import pytest

from tests.contract.conftest import MESSAGES, MODEL
from tests.contract.test_responses import events_of
from tests.contract.weather import SCHEMA, Weather, assert_fits

BRACES = {"94": 100, "96": 100}  # the tokens of { and }, wherever the grammar allows one
SKY = {"enum": ["clear", "grey", None]}
DAY = {
    "type": "object",
    "properties": {
        "sky": {"$ref": "#/$defs/sky"},
        "wind": {
            "type": "object",
            "properties": {"from": {"enum": ["north", "south"]}, "strong": {"type": "boolean"}},
            "required": ["from", "strong"],
            "additionalProperties": False,
        },
        "rain": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 99}, {"type": "null"}]},
    },
    "required": ["sky", "wind", "rain"],
    "additionalProperties": False,
}
NESTED = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "kind": {"const": "forecast"},
        "days": {"type": "array", "items": {"$ref": "#/$defs/day"}, "minItems": 2, "maxItems": 3},
    },
    "required": ["kind", "days"],
    "additionalProperties": False,
    "$defs": {"sky": SKY, "day": DAY},
}
SCHEMAS = pytest.mark.parametrize("schema", [SCHEMA, NESTED], ids=["flat", "nested, arrays, $defs"])
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@STREAMED
@SCHEMAS
@pytest.mark.parametrize("strict", [True, False, None])
def test_chat_fits_a_json_schema(client: Any, schema: Any, stream: bool, strict: bool | None) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=500, stream=stream,
        response_format={"type": "json_schema", "json_schema": {"name": "weather", "schema": schema, "strict": strict}},
    )  # fmt: skip
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        text = answer.choices[0].message.content
    jsonschema.validate(json.loads(text), schema)


@STREAMED
@SCHEMAS
def test_responses_fit_a_json_schema(http: httpx.Client, schema: Any, stream: bool) -> None:
    text = {"format": {"type": "json_schema", "name": "weather", "schema": schema, "strict": True}}
    body = {"model": MODEL, "input": "The weather?", "text": text, "max_output_tokens": 500, "stream": stream}
    answer = http.post("/v1/responses", json=body)
    response = events_of(answer)[-1]["response"] if stream else answer.json()
    assert response["status"] == "completed"
    jsonschema.validate(json.loads(response["output"][0]["content"][0]["text"]), schema)


@STREAMED
def test_json_object_gives_an_object(client: Any, stream: bool) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=200, response_format={"type": "json_object"}, stream=stream,
        logit_bias=BRACES,
    )  # fmt: skip
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        text = answer.choices[0].message.content
    assert json.loads(text) == {}


def test_what_is_cut_by_length_says_so(client: Any) -> None:
    (choice,) = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=4,
        response_format={"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}},
    ).choices  # fmt: skip
    assert choice.finish_reason == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice.message.content)


def test_the_client_s_parse_gives_an_object(client: Any) -> None:
    answer = client.chat.completions.parse(model=MODEL, messages=MESSAGES, max_tokens=64, response_format=Weather)
    assert isinstance(answer.choices[0].message.parsed, Weather)
    response = client.responses.parse(model=MODEL, input="Hi.", max_output_tokens=64, text_format=Weather)
    assert isinstance(response.output_parsed, Weather)


async def test_the_async_client_s_parse_gives_an_object(async_client: Any) -> None:
    answer = await async_client.chat.completions.parse(
        model=MODEL, messages=MESSAGES, max_tokens=64, response_format=Weather
    )
    assert isinstance(answer.choices[0].message.parsed, Weather)


def test_the_client_s_streaming_helper_gives_an_object(client: Any) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=MESSAGES, max_tokens=64, response_format=Weather
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert isinstance(final.choices[0].message.parsed, Weather)


async def test_the_async_client_s_streaming_helper_reads_a_response(async_client: Any) -> None:
    async with async_client.responses.stream(
        model=MODEL, input="Hi.", text_format=Weather, max_output_tokens=64
    ) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert isinstance(final.output_parsed, Weather)
    assert_fits(json.loads(final.output_text))
