"""The OpenAI Agents SDK: an agent with a function tool, on responses and on chat completions, whole and streamed."""

from collections.abc import AsyncIterator
from typing import Any

import agents
import openai
import pytest
from agents import Agent, ModelSettings, Runner
from shared import (
    BRIEF,
    ENDLESS,
    QUESTION,
    RESULTS,
    ROOMY,
    SEEDED,
    SOON_OVER,
    Weather,
    assert_no_such_model,
    get_weather,
)

MODELS = {"responses": agents.OpenAIResponsesModel, "chat": agents.OpenAIChatCompletionsModel}


@pytest.fixture(params=sorted(MODELS))
def make_model(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]


@pytest.fixture
async def client(base_url: str, api_key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    agents.set_tracing_disabled(True)  # it would send what is said to OpenAI
    async with openai.AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0) as plain:
        yield plain


def plain_agent(model: Any, **settings: Any) -> Agent:
    """It says as much as it may, where `settings` do not let it end."""
    brief = {"max_tokens": BRIEF, "extra_body": ENDLESS, "metadata": {"team": "weather"}}
    return Agent(
        name="Speaker", instructions="Be brief.", model=model, model_settings=ModelSettings(**brief | settings)
    )


def tool_agent(model: Any) -> Agent:
    """Calls its tool first, as it must; what the tool returns is its answer."""
    return Agent(
        name="Weather",
        model=model,
        tools=[agents.function_tool(get_weather)],
        tool_use_behavior="stop_on_first_tool",
        model_settings=ModelSettings(tool_choice="required", max_tokens=ROOMY, extra_body=SEEDED),
    )


async def test_an_agent_answers_with_text_and_usage(client: openai.AsyncOpenAI, make_model: Any, model: str) -> None:
    result = await Runner.run(plain_agent(make_model(model, client)), QUESTION)
    assert isinstance(result.final_output, str)
    assert result.context_wrapper.usage.output_tokens == BRIEF


async def test_its_stream_adds_up_to_the_same_text(client: openai.AsyncOpenAI, make_model: Any, model: str) -> None:
    """Which must end by itself: the SDK takes a stream that reaches its limit for a failure."""
    agent = plain_agent(make_model(model, client), max_tokens=ROOMY, extra_body=SOON_OVER)
    result = Runner.run_streamed(agent, QUESTION)
    deltas = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert "".join(deltas) == result.final_output == (await Runner.run(agent, QUESTION)).final_output


async def test_an_agent_calls_its_function(client: openai.AsyncOpenAI, make_model: Any, model: str) -> None:
    result = await Runner.run(tool_agent(make_model(model, client)), QUESTION)
    assert result.final_output in RESULTS


async def test_it_does_so_in_a_stream_too(client: openai.AsyncOpenAI, make_model: Any, model: str) -> None:
    result = Runner.run_streamed(tool_agent(make_model(model, client)), QUESTION)
    kinds = [event.name async for event in result.stream_events() if event.type == "run_item_stream_event"]
    assert kinds == ["tool_called", "tool_output"]
    assert result.final_output in RESULTS


async def test_the_tool_s_result_goes_back_and_the_agent_answers(
    client: openai.AsyncOpenAI, make_model: Any, model: str
) -> None:
    """After a call that was required the SDK leaves the model its choice; here it may say a few words."""
    agent = tool_agent(make_model(model, client)).clone(tool_use_behavior="run_llm_again")
    result = await Runner.run(agent, QUESTION, max_turns=2)
    assert result.context_wrapper.usage.requests == 2
    assert [item.type for item in result.new_items][:2] == ["tool_call_item", "tool_call_output_item"]


async def test_an_agent_answers_with_an_object(client: openai.AsyncOpenAI, make_model: Any, model: str) -> None:
    settings = ModelSettings(max_tokens=ROOMY, extra_body=SEEDED)
    agent = Agent(name="Weather", model=make_model(model, client), output_type=Weather, model_settings=settings)
    assert isinstance((await Runner.run(agent, QUESTION)).final_output, Weather)


async def test_an_agent_of_another_model_is_told_so(client: openai.AsyncOpenAI, make_model: Any) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await Runner.run(plain_agent(make_model("gpt-4o", client)), QUESTION)
    assert_no_such_model(caught.value)
