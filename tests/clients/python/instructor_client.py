"""Instructor over the openai package, in each of its modes that leave the shape of an answer to the service."""

from collections.abc import Iterator
from typing import Any

import instructor
import openai
import pydantic
import pytest
from instructor import Mode
from instructor.core import InstructorRetryException
from shared import BRIEF, ENDLESS, QUESTION, ROOMY, SEEDED, Weather, assert_no_such_model

ASK = {"messages": [{"role": "user", "content": QUESTION}], "max_retries": 0}
FOR_TEXT = ASK | {"response_model": None, "max_tokens": BRIEF, "extra_body": ENDLESS}
FOR_WEATHER = ASK | {"response_model": Weather, "max_tokens": ROOMY, "extra_body": SEEDED}


@pytest.fixture(
    params=[Mode.TOOLS, Mode.TOOLS_STRICT, Mode.JSON_SCHEMA, Mode.RESPONSES_TOOLS], ids=lambda mode: mode.name
)
def mode(request: pytest.FixtureRequest) -> Mode:
    return request.param


@pytest.fixture
def client(base_url: str, api_key: str, model: str, mode: Mode) -> Iterator[instructor.Instructor]:
    with openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0) as plain:
        yield instructor.from_openai(plain, model=model, mode=mode)


@pytest.fixture
async def async_client(base_url: str, api_key: str, model: str, mode: Mode) -> Any:
    async with openai.AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0) as plain:
        yield instructor.from_openai(plain, model=model, mode=mode)


def text_of(answer: Any) -> str:
    return answer.output_text if answer.object == "response" else answer.choices[0].message.content


def delta_of(event: Any) -> str:
    if getattr(event, "object", None) == "chat.completion.chunk":
        return event.choices[0].delta.content or ""
    return event.delta if event.type == "response.output_text.delta" else ""


def test_an_answer_without_a_shape_has_text_and_usage(client: Any) -> None:
    answer = client.create(**FOR_TEXT)
    made = "output_tokens" if answer.object == "response" else "completion_tokens"
    assert getattr(answer.usage, made) == BRIEF
    assert isinstance(text_of(answer), str)


def test_its_stream_adds_up_to_the_same_text(client: Any) -> None:
    deltas = [delta_of(event) for event in client.create(**FOR_TEXT, stream=True)]
    assert "".join(deltas) == text_of(client.create(**FOR_TEXT))


def test_an_answer_is_an_object_and_has_usage(client: Any) -> None:
    weather, answer = client.create_with_completion(**FOR_WEATHER)
    assert isinstance(weather, Weather)
    assert answer.usage.total_tokens > 0


async def test_the_async_client_gets_the_same(client: Any, async_client: Any) -> None:
    weather = await async_client.create(**FOR_WEATHER)
    assert weather.model_dump() == client.create(**FOR_WEATHER).model_dump()


def assert_grows_to_weather(partials: list[pydantic.BaseModel]) -> None:
    *_, last = filled = [partial.model_dump(exclude_none=True) for partial in partials]
    counts = [len(fields) for fields in filled]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert Weather.model_validate(last)


def test_partial_objects_grow_while_the_answer_streams(client: Any) -> None:
    assert_grows_to_weather(list(client.create_partial(**FOR_WEATHER)))


async def test_partial_objects_of_the_async_client_do_too(async_client: Any) -> None:
    assert_grows_to_weather([partial async for partial in async_client.create_partial(**FOR_WEATHER)])


ROLES_SENT_BACK = {
    Mode.TOOLS: ["assistant", "tool"],
    Mode.TOOLS_STRICT: ["assistant", "tool"],
    Mode.JSON_SCHEMA: ["assistant", "user"],
    Mode.RESPONSES_TOOLS: ["user"],
}


def test_a_rejected_object_goes_back_to_the_model_which_makes_another(client: Any, mode: Mode) -> None:
    verdicts = iter([False, True])

    class Accepted(Weather):
        @pydantic.model_validator(mode="after")
        def is_accepted(self) -> "Accepted":
            if not next(verdicts):
                raise ValueError("look out of the window again")
            return self

    sent: list[list[str]] = []
    client.on("completion:kwargs", lambda **body: sent.append([message["role"] for message in body["messages"]]))
    assert isinstance(client.create(**FOR_WEATHER | {"response_model": Accepted, "max_retries": 1}), Accepted)
    assert sent == [["user"], ["user", *ROLES_SENT_BACK[mode]]]


def test_an_unknown_model_is_openai_s_own_error(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.create(**FOR_TEXT | {"model": "gpt-4o"})
    assert_no_such_model(caught.value)


@pytest.mark.parametrize("method", ["create", "create_partial"])
def test_for_an_object_it_is_the_cause_of_instructor_s(client: Any, method: str) -> None:
    with pytest.raises(InstructorRetryException) as caught:
        list(getattr(client, method)(**FOR_WEATHER | {"model": "gpt-4o"}))
    assert_no_such_model(caught.value.__cause__)
