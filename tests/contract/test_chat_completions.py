"""POST /v1/chat/completions with the openai package, strict about its types: the wire, not the model's skill."""

import json
from typing import Any, Literal

import httpx
import pydantic
import pytest

from tests.contract.conftest import MESSAGES, MODEL, NO_END

CHAT = "/v1/chat/completions"


def test_an_answer_has_text_a_finish_reason_and_usage(client: Any) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=8, logit_bias=NO_END)
    (choice,) = answer.choices
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert (choice.message.role, choice.finish_reason) == ("assistant", "length")
    assert isinstance(choice.message.content, str)
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8
    assert answer._request_id in answer.id


async def test_the_async_client_gets_the_same(async_client: Any) -> None:
    answer = await async_client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=4)
    assert answer.choices[0].message.role == "assistant"


def test_a_stream_has_one_role_one_finish_reason_and_no_usage_unless_asked(client: Any) -> None:
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=6, logit_bias=NO_END, stream=True)
    )
    assert all(chunk.object == "chat.completion.chunk" and len(chunk.choices) == 1 for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1
    roles = [chunk.choices[0].delta.role for chunk in chunks]
    assert roles == ["assistant"] + [None] * (len(chunks) - 1)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_ends_with_its_usage_if_asked(client: Any) -> None:
    *chunks, last = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=6, logit_bias=NO_END, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    assert last.choices == []
    assert last.usage.completion_tokens == 6
    assert all(chunk.usage is None for chunk in chunks)


async def test_a_stream_reads_the_same_as_a_whole_answer(async_client: Any) -> None:
    same = {"model": MODEL, "messages": MESSAGES, "max_tokens": 24, "seed": 7, "temperature": 1.0}
    whole = await async_client.chat.completions.create(**same)
    stream = await async_client.chat.completions.create(**same, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == whole.choices[0].message.content


def test_a_stream_on_the_wire(http: httpx.Client) -> None:
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 5, "stream": True, "temperature": 0}
    with http.stream("POST", CHAT, json=body) as response:
        pieces = list(response.iter_raw())
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert float(response.headers["x-gateway-overhead-ms"]) < 1000
    assert all(piece.endswith(b"\n\n") for piece in pieces), "an event was split over two writes"
    *events, done, rest = b"".join(pieces).split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    for event in events:
        assert event.startswith(b"data: {")
        assert not {"token_ids", "stop_reason", "prompt_token_ids"} & set(json.loads(event[6:])["choices"][0])


@pytest.mark.parametrize("stream", [False, True])
def test_n_gives_that_many_choices(client: Any, stream: bool) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=4, n=2, stream=stream)
    if not stream:
        assert [choice.index for choice in answer.choices] == [0, 1]
        return
    chunks = [chunk.choices[0] for chunk in answer]
    for index in (0, 1):
        mine = [choice for choice in chunks if choice.index == index]
        assert [choice.delta.role for choice in mine].count("assistant") == 1
        assert sum(choice.finish_reason is not None for choice in mine) == 1


def test_logprobs_name_each_token_and_its_rivals(client: Any) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=3, logit_bias=NO_END, logprobs=True, top_logprobs=2
    )
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == 3
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens)


def test_stop_ends_the_answer_and_is_left_out(client: Any) -> None:
    same = {"model": MODEL, "messages": MESSAGES, "seed": 3, "temperature": 1.0, "max_tokens": 48}
    text = client.chat.completions.create(**same).choices[0].message.content
    stop = next(letter for letter in text if letter.isascii() and letter.isalnum())
    choice = client.chat.completions.create(**same, stop=[stop]).choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.content == text[: text.index(stop)]


def test_the_same_seed_gives_the_same_text(client: Any) -> None:
    def text(seed: int) -> str | None:
        return client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=24, temperature=1.0, seed=seed
        ).choices[0].message.content  # fmt: skip

    assert text(1) == text(1)
    assert text(1) != text(2)


SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["celsius", "kelvin"]}, "degrees": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["unit", "degrees"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_json_schema_gives_an_object_that_fits_it(client: Any, stream: bool) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=64, stream=stream,
        response_format={"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}},
    )  # fmt: skip
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        text = answer.choices[0].message.content
    assert_fits(json.loads(text))


TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "get_climate", "description": "The climate.", "parameters": SCHEMA}},
]
CHOICES = ["required", {"type": "function", "function": {"name": "get_climate"}}]


@pytest.mark.parametrize("tool_choice", CHOICES, ids=["required", "named"])
def test_a_forced_tool_call_fits_its_schema(client: Any, tool_choice: Any) -> None:
    (choice,) = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=400, seed=1, tools=TOOLS, tool_choice=tool_choice,
        parallel_tool_calls=False,
    ).choices  # fmt: skip
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == ("tool_calls" if tool_choice == "required" else "stop")
    assert_call(call.function.name, call.function.arguments, tool_choice)


@pytest.mark.parametrize("tool_choice", CHOICES, ids=["required", "named"])
def test_a_streamed_tool_call_concatenates_to_its_arguments(client: Any, tool_choice: Any) -> None:
    chunks = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=400, seed=1, tools=TOOLS, tool_choice=tool_choice,
        parallel_tool_calls=False, stream=True,
    )  # fmt: skip
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert {call.index for call in calls} == {0}
    assert [call.id for call in calls if call.id] == [calls[0].id]
    names = [call.function.name for call in calls if call.function.name]
    assert len(names) == 1
    assert_call(names[0], "".join(call.function.arguments or "" for call in calls), tool_choice)


def assert_call(name: str, arguments: str, tool_choice: Any) -> None:
    assert name in ({"get_weather", "get_climate"} if tool_choice == "required" else {"get_climate"})
    assert_fits(json.loads(arguments))


def assert_fits(value: Any) -> None:
    assert set(value) == {"unit", "degrees"}
    assert value["unit"] in ("celsius", "kelvin")
    assert 0 <= value["degrees"] <= 9


class Weather(pydantic.BaseModel):
    unit: Literal["celsius", "kelvin"]
    degrees: Literal[1, 2, 3]


def test_the_client_s_parse_gives_an_object(client: Any) -> None:
    answer = client.chat.completions.parse(model=MODEL, messages=MESSAGES, max_tokens=64, response_format=Weather)
    assert isinstance(answer.choices[0].message.parsed, Weather)


def test_the_client_s_streaming_helper_gives_an_object(client: Any) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=MESSAGES, max_tokens=64, response_format=Weather
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert isinstance(final.choices[0].message.parsed, Weather)


def test_a_tool_s_result_goes_back_to_the_model(client: Any) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [*MESSAGES, {"role": "assistant", "tool_calls": [call]}]
    messages.append({"role": "tool", "tool_call_id": "c1", "content": "sunny"})
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, max_tokens=4)
    assert answer.choices[0].message.role == "assistant"


def test_a_tool_choice_of_none_calls_nothing(client: Any) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, tools=TOOLS, tool_choice="none", max_tokens=8
    )
    assert not answer.choices[0].message.tool_calls
