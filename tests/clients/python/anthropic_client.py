"""The anthropic package, sync and async, with its stream helpers: nothing changed but its base URL and its key."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import anthropic
import pydantic
import pytest
from shared import BRIEF, QUESTION, RESULTS, ROOMY, get_weather

CONVERSATION: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}]}
ASK = CONVERSATION | {"extra_body": {"temperature": 0}}  # the package has no such argument any more
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["celsius", "kelvin"]}, "tomorrow": {"type": "boolean"}},
    "required": ["unit", "tomorrow"],
    "additionalProperties": False,
}
TOOL: Any = {"name": "get_weather", "description": "Tell the weather here.", "input_schema": WEATHER_SCHEMA}
FORCED: dict[str, Any] = {"tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}


class Sky(pydantic.BaseModel):
    """The package leaves the bounds of numbers out of a schema, so it has none: a random model would write on."""

    colour: Literal["clear", "grey"]
    windy: bool


def root_of(base_url: str) -> str:
    """This package adds /v1 itself."""
    return base_url.removesuffix("/v1")


@pytest.fixture
def client(base_url: str, api_key: str) -> Iterator[anthropic.Anthropic]:
    """It reads answers strictly, and sends the key as `x-api-key`."""
    with anthropic.Anthropic(
        base_url=root_of(base_url), api_key=api_key, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture
async def async_client(base_url: str, api_key: str) -> Any:
    """It sends the key as `Authorization: Bearer`."""
    async with anthropic.AsyncAnthropic(
        base_url=root_of(base_url), api_key=None, auth_token=api_key, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def test_a_message_has_text_usage_and_the_request_s_id(client: Any, model: str) -> None:
    message = client.messages.create(model=model, max_tokens=BRIEF, system="Be brief.", **ASK)
    (block,) = message.content
    assert block.type == "text"
    assert message.stop_reason in ("max_tokens", "end_turn")
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens > 0
    assert 0 < message.usage.output_tokens <= BRIEF
    assert message.id == f"msg_{message._request_id}"


async def test_the_async_client_gets_the_same(client: Any, async_client: Any, model: str) -> None:
    message = await async_client.messages.create(model=model, max_tokens=BRIEF, **ASK)
    assert message.content == client.messages.create(model=model, max_tokens=BRIEF, **ASK).content


def test_the_stream_helper_adds_up_to_the_same_message(client: Any, model: str) -> None:
    whole = client.messages.create(model=model, max_tokens=BRIEF, **ASK)
    with client.messages.stream(model=model, max_tokens=BRIEF, **ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens


async def test_the_async_stream_helper_does_too(async_client: Any, model: str) -> None:
    kinds = []
    async with async_client.messages.stream(model=model, max_tokens=BRIEF, **ASK) as stream:
        async for event in stream:
            kinds.append(event.type)
        final = await stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert "".join(block.text for block in final.content) == await stream.get_final_text()


def test_the_events_of_a_raw_stream_come_in_order(client: Any, model: str) -> None:
    events = list(client.messages.create(model=model, max_tokens=BRIEF, stream=True, **ASK))
    kinds = [event.type for event in events]
    assert list(dict.fromkeys(kinds)) == [
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip


def test_a_tool_is_called_and_its_result_goes_back(client: Any, model: str) -> None:
    message = client.messages.create(model=model, max_tokens=ROOMY, **ASK, **FORCED)
    assert message.stop_reason == "tool_use"
    (call,) = [block for block in message.content if block.type == "tool_use"]
    result = get_weather(**call.input)
    assert result in RESULTS
    conversation = [
        *ASK["messages"],
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": result}]},
    ]
    answer = client.messages.create(model=model, max_tokens=BRIEF, messages=conversation, tools=[TOOL])
    assert answer.usage.output_tokens > 0


def test_a_streamed_call_adds_up_to_its_input(client: Any, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=ROOMY, **ASK, **FORCED) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    (call,) = [block for block in final.content if block.type == "tool_use"]
    assert json.loads("".join(pieces)) == call.input
    assert get_weather(**call.input) in RESULTS


def test_the_tool_runner_calls_a_function_and_sends_its_result_without_a_thread(client: Any, model: str) -> None:
    tool = anthropic.beta_tool(get_weather)
    runner = client.beta.messages.tool_runner(
        model=model, max_tokens=ROOMY, tools=[tool], tool_choice=FORCED["tool_choice"], max_iterations=2, **ASK
    )
    first, second = list(runner)
    assert first.stop_reason == second.stop_reason == "tool_use"


def test_an_object_is_parsed(client: Any, model: str) -> None:
    message = client.messages.parse(model=model, max_tokens=ROOMY, output_format=Sky, **ASK)
    assert isinstance(message.parsed_output, Sky)


def test_tokens_are_counted_as_a_message_has_them(client: Any, model: str) -> None:
    prompt = CONVERSATION | {"tools": [TOOL], "system": "Be brief."}
    counted = client.messages.count_tokens(model=model, **prompt)
    usage = client.messages.create(model=model, max_tokens=1, **prompt).usage
    cached = usage.cache_read_input_tokens + usage.cache_creation_input_tokens
    assert counted.input_tokens == usage.input_tokens + cached


def test_errors_are_of_the_package_s_own_types(client: Any, base_url: str, model: str) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.create(model="claude-sonnet-4-5", max_tokens=1, **ASK)
    assert unknown.value.type == "not_found_error"
    assert unknown.value.request_id
    assert "GET /v1/models" in str(unknown.value.api_message)
    picture = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    with pytest.raises(anthropic.BadRequestError, match="`vision`"):
        client.messages.create(model=model, max_tokens=1, messages=[{"role": "user", "content": [picture]}])
    with pytest.raises(anthropic.UnprocessableEntityError, match="context length"):
        client.messages.create(model=model, max_tokens=1, messages=[{"role": "user", "content": "word " * 3000}])
    stranger = anthropic.Anthropic(base_url=root_of(base_url), api_key="sk-ant-of-others", max_retries=0)
    with stranger, pytest.raises(anthropic.AuthenticationError) as refused:
        stranger.messages.create(model=model, max_tokens=1, **ASK)
    assert refused.value.type == "authentication_error"
