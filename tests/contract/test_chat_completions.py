"""POST /v1/chat/completions with the openai package, strict about its types: the wire, not the model's skill."""

import json
from typing import Any

import httpx
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


def test_a_stream_has_one_role_one_finish_reason_and_no_usage_by_default(client: Any) -> None:
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


def test_a_stream_ends_with_its_usage_with_include_usage(client: Any) -> None:
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
