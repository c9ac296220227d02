"""LangChain's ChatOpenAI, on both of its roads: chat completions and responses."""

from collections.abc import Callable
from functools import partial, reduce
from operator import add
from typing import Any, Literal

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from shared import BRIEF, ENDLESS, QUESTION, RESULTS, ROOMY, SEEDED, Weather, assert_no_such_model, get_weather

TOOL = tool(get_weather)
Connect = Callable[..., ChatOpenAI]


@pytest.fixture(params=[False, True], ids=["chat completions", "responses"])
def connect(request: pytest.FixtureRequest, base_url: str, api_key: str, model: str) -> Connect:
    """ChatOpenAI with its base URL and key. It requests a stream's usage only of OpenAI, unless configured."""
    return partial(
        ChatOpenAI, model=model, base_url=base_url, api_key=api_key, use_responses_api=request.param,
        stream_usage=True, max_retries=0,
    )  # fmt: skip


@pytest.fixture
def brief(connect: Connect) -> ChatOpenAI:
    return connect(max_tokens=BRIEF, extra_body=ENDLESS)


@pytest.fixture
def roomy(connect: Connect) -> ChatOpenAI:
    return connect(max_tokens=ROOMY, extra_body=SEEDED)


def assert_brief(answer: AIMessage, model: str) -> None:
    assert isinstance(answer.text, str)
    assert answer.tool_calls == []
    assert answer.response_metadata["model_name"] == model
    usage = answer.usage_metadata
    assert usage is not None
    assert usage["output_tokens"] == BRIEF
    assert usage["total_tokens"] == usage["input_tokens"] + BRIEF


def test_an_answer_has_text_and_usage(brief: ChatOpenAI, model: str) -> None:
    assert_brief(brief.invoke(QUESTION), model)


async def test_the_async_client_gets_the_same(brief: ChatOpenAI, model: str) -> None:
    answer = await brief.ainvoke(QUESTION)
    assert_brief(answer, model)
    assert answer.text == brief.invoke(QUESTION).text


def test_a_stream_adds_up_to_the_whole_answer_and_its_usage(brief: ChatOpenAI, model: str) -> None:
    chunks = list(brief.stream(QUESTION))
    whole = reduce(add, chunks)
    assert len(chunks) > 1
    assert_brief(whole, model)
    assert whole.text == brief.invoke(QUESTION).text


async def test_an_async_stream_does_too(brief: ChatOpenAI, model: str) -> None:
    chunks = [chunk async for chunk in brief.astream(QUESTION)]
    whole = reduce(add, chunks)
    assert len(chunks) > 1
    assert_brief(whole, model)
    assert whole.text == (await brief.ainvoke(QUESTION)).text


@pytest.mark.parametrize("choice", ["required", "get_weather"])
def test_a_tool_s_result_goes_back_to_the_model(roomy: ChatOpenAI, brief: ChatOpenAI, model: str, choice: str) -> None:
    first = roomy.bind_tools([TOOL], tool_choice=choice, parallel_tool_calls=False).invoke(QUESTION)
    (call,) = first.tool_calls
    result = TOOL.invoke(call)
    assert isinstance(result, ToolMessage)
    assert result.content in RESULTS
    assert_brief(brief.bind_tools([TOOL]).invoke([HumanMessage(QUESTION), first, result]), model)


async def test_a_streamed_tool_call_adds_up_to_the_whole_one(roomy: ChatOpenAI) -> None:
    caller = roomy.bind_tools([TOOL], tool_choice="get_weather")
    chunks: list[AIMessageChunk] = [chunk async for chunk in caller.astream(QUESTION)]
    (call,) = reduce(add, chunks).tool_calls
    assert len([chunk for chunk in chunks if chunk.tool_call_chunks]) > 1
    assert (call["name"], call["args"]) == ("get_weather", caller.invoke(QUESTION).tool_calls[0]["args"])


Method = Literal["json_schema", "function_calling"]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_structured_answer_is_an_object(roomy: ChatOpenAI, method: Method) -> None:
    answer: Any = roomy.with_structured_output(Weather, method=method, include_raw=True).invoke(QUESTION)
    assert answer["parsing_error"] is None
    assert isinstance(answer["parsed"], Weather)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_a_structured_stream_ends_in_the_same_object(roomy: ChatOpenAI, method: Method) -> None:
    structured = roomy.with_structured_output(Weather, method=method)
    *_, last = [piece async for piece in structured.astream(QUESTION)]
    assert last == await structured.ainvoke(QUESTION)


def test_an_unknown_model_is_openai_s_own_error(connect: Connect) -> None:
    stranger = connect(model="gpt-4o")
    with pytest.raises(openai.NotFoundError) as caught:
        stranger.invoke(QUESTION)
    assert_no_such_model(caught.value)
    with pytest.raises(openai.NotFoundError) as caught:
        next(stranger.stream(QUESTION))
    assert_no_such_model(caught.value)


@pytest.fixture
def embeddings(base_url: str, api_key: str) -> OpenAIEmbeddings:
    """Without `check_embedding_ctx_length=False` it loads one of OpenAI's tokenizers, from the internet."""
    return OpenAIEmbeddings(
        model="pocket-embed", base_url=base_url, api_key=api_key, check_embedding_ctx_length=False, max_retries=0
    )


async def test_texts_become_vectors_in_their_order(embeddings: OpenAIEmbeddings) -> None:
    one, other = embeddings.embed_documents(["the fox", "the gateway"])
    assert len(one) == len(other) == 64
    assert embeddings.embed_query("the fox") == pytest.approx(one, abs=1e-6)
    assert await embeddings.aembed_documents(["the gateway"]) == [pytest.approx(other, abs=1e-6)]


def test_an_empty_text_is_openai_s_own_error(embeddings: OpenAIEmbeddings) -> None:
    with pytest.raises(openai.BadRequestError):
        embeddings.embed_documents([""])
