"""LlamaIndex's OpenAILike (chat completions) and OpenAILikeResponses (responses)."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import openai
import pytest
from llama_index.core.base.llms.types import ChatResponse, MessageRole
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike, OpenAILikeResponses
from shared import BRIEF, ENDLESS, QUESTION, RESULTS, ROOMY, SEEDED, Weather, assert_no_such_model, get_weather

TOOL = FunctionTool.from_defaults(get_weather)
ASK = ChatMessage(QUESTION)
PROMPT = PromptTemplate("How is the weather in {city}?")
LLM: TypeAlias = OpenAILike | OpenAILikeResponses
Connect = Callable[..., LLM]


@pytest.fixture
def settings(base_url: str, api_key: str, model: str) -> dict[str, Any]:
    """The base URL and the key, and what LlamaIndex cannot know of the model."""
    return {
        "model": model, "api_base": base_url, "api_key": api_key, "context_window": 2048,
        "is_function_calling_model": True, "max_retries": 0,
    }  # fmt: skip


def connect_chat(settings: dict[str, Any], limit: int, extra_body: dict[str, Any], **changes: Any) -> OpenAILike:
    more = {"extra_body": extra_body}
    return OpenAILike(**settings | changes, is_chat_model=True, max_tokens=limit, additional_kwargs=more)


def connect_responses(
    settings: dict[str, Any], limit: int, extra_body: dict[str, Any], **changes: Any
) -> OpenAILikeResponses:
    more = {"extra_body": extra_body}
    return OpenAILikeResponses(**settings | changes, max_output_tokens=limit, additional_kwargs=more)


@pytest.fixture(params=[connect_chat, connect_responses], ids=["chat completions", "responses"])
def connect(request: pytest.FixtureRequest, settings: dict[str, Any]) -> Connect:
    return partial(request.param, settings)


@pytest.fixture
def brief(connect: Connect) -> LLM:
    return connect(BRIEF, ENDLESS)


@pytest.fixture
def roomy(connect: Connect) -> LLM:
    return connect(ROOMY, SEEDED)


def assert_brief(answer: ChatResponse, model: str) -> None:
    assert answer.message.role == MessageRole.ASSISTANT
    assert isinstance(answer.message.content, str)
    assert answer.raw.model == model
    made = "completion_tokens" if answer.raw.object == "chat.completion" else "output_tokens"
    assert getattr(answer.raw.usage, made) == BRIEF
    assert answer.raw.usage.total_tokens > BRIEF


def test_an_answer_has_text_and_usage(brief: LLM, model: str) -> None:
    answer = brief.chat([ASK])
    assert_brief(answer, model)
    assert brief.complete(QUESTION).text == answer.message.content


async def test_the_async_client_gets_the_same(brief: LLM, model: str) -> None:
    answer = await brief.achat([ASK])
    assert_brief(answer, model)
    assert answer.message.content == brief.chat([ASK]).message.content


def test_a_stream_adds_up_to_the_whole_answer(brief: LLM) -> None:
    deltas = [chunk.delta for chunk in brief.stream_chat([ASK])]
    assert len(deltas) > 1
    assert "".join(deltas) == brief.chat([ASK]).message.content


async def test_an_async_stream_does_too(brief: LLM) -> None:
    deltas = [chunk.delta async for chunk in await brief.astream_chat([ASK])]
    assert len(deltas) > 1
    assert "".join(deltas) == (await brief.achat([ASK])).message.content


def test_a_stream_has_its_usage_where_requested(settings: dict[str, Any]) -> None:
    stream = connect_chat(settings, BRIEF, ENDLESS).stream_chat([ASK], stream_options={"include_usage": True})
    *_, last = stream
    assert last.additional_kwargs["completion_tokens"] == BRIEF


def test_a_tool_s_result_goes_back_to_the_model(roomy: LLM, brief: LLM, model: str) -> None:
    first = roomy.chat_with_tools([TOOL], chat_history=[ASK], tool_required=True)
    (call,) = roomy.get_tool_calls_from_response(first)
    assert call.tool_name == "get_weather"
    result = TOOL(**call.tool_kwargs)
    assert result.content in RESULTS
    reply = ChatMessage(role="tool", content=result.content, additional_kwargs={"tool_call_id": call.tool_id})
    assert_brief(brief.chat_with_tools([TOOL], chat_history=[ASK, first.message, reply]), model)


async def test_a_streamed_tool_call_adds_up_to_the_whole_one(roomy: LLM) -> None:
    (whole,) = roomy.get_tool_calls_from_response(
        await roomy.achat_with_tools([TOOL], chat_history=[ASK], tool_required=True)
    )
    stream = await roomy.astream_chat_with_tools([TOOL], chat_history=[ASK], tool_required=True)
    *_, last = [chunk async for chunk in stream]
    (call,) = roomy.get_tool_calls_from_response(last)
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", whole.tool_kwargs)


def test_it_can_call_the_tool_itself(roomy: LLM) -> None:
    assert roomy.predict_and_call([TOOL], QUESTION, tool_required=True).response in RESULTS


def test_a_structured_answer_is_an_object(roomy: LLM) -> None:
    assert isinstance(roomy.structured_predict(Weather, PROMPT, city="Rome"), Weather)
    assert isinstance(roomy.as_structured_llm(Weather).chat([ASK]).raw, Weather)


# LlamaIndex streams objects from tool calls that it leaves to the model, which random weights do not make; a schema
# it only sends on chat completions.
async def test_a_structured_stream_ends_in_the_same_object(settings: dict[str, Any]) -> None:
    llm = connect_chat(settings, ROOMY, SEEDED, should_use_structured_outputs=True)
    *_, last = [piece async for piece in await llm.astream_structured_predict(Weather, PROMPT, city="Rome")]
    assert isinstance(last, Weather)
    assert last == await llm.astructured_predict(Weather, PROMPT, city="Rome")


def test_an_unknown_model_is_openai_s_own_error(connect: Connect) -> None:
    stranger = connect(BRIEF, {}, model="gpt-4o")
    with pytest.raises(openai.NotFoundError) as caught:
        stranger.chat([ASK])
    assert_no_such_model(caught.value)
    with pytest.raises(openai.NotFoundError) as caught:
        next(stranger.stream_chat([ASK]))
    assert_no_such_model(caught.value)
