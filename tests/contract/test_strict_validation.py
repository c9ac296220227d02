"""Every answer of every route, as OpenAI's strictest readers take it: its specification, and its client's types."""

import base64
import json
import struct
from typing import Any

import httpx
import pytest

from tests import openai_answers, recordings
from tests.contract.conftest import (
    EMBEDDING_MODEL,
    MESSAGES,
    MODEL,
    NO_END,
    SPECULATING_MODEL,
    SPEECH_MODEL,
    TRANSCRIPTION_MODEL,
    VISION_MODEL,
)
from tests.contract.weather import SCHEMA
from tests.openai_answers import check_shape, events_of
from tests.sample_images import PNG, data_url

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
FUNCTION = {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}
BARE_FUNCTION = {"name": "ring"}
TOOLS = [{"type": "function", "function": one} for one in (FUNCTION, BARE_FUNCTION)]
FLAT_TOOLS = [{"type": "function", **one} for one in (FUNCTION, BARE_FUNCTION)]
FORMAT = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}}
FLAT_FORMAT = {"format": {"type": "json_schema", "name": "weather", "schema": SCHEMA}}
PICTURE = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": data_url(PNG)}}]
FLAT_PICTURE = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": data_url(PNG)}]

CHATS: dict[str, dict[str, Any]] = {
    "plain": {"max_tokens": 6, "logit_bias": NO_END},
    "to its end": {"max_tokens": 300},
    "metadata": {"max_tokens": 6, "metadata": {"order": "42"}},
    "two choices": {"max_tokens": 6, "n": 2},
    "logprobs": {"max_tokens": 6, "logprobs": True},
    "logprobs and rivals": {"max_tokens": 6, "n": 2, "logprobs": True, "top_logprobs": 2},
    "JSON object": {"max_tokens": 40, "response_format": {"type": "json_object"}},
    "JSON schema": {"max_tokens": 100, "response_format": FORMAT},
    "tools, auto": {"max_tokens": 6, "tools": TOOLS},
    "tools, none": {"max_tokens": 6, "tools": TOOLS, "tool_choice": "none"},
    "tools, required": {"max_tokens": 600, "tools": TOOLS, "tool_choice": "required", "n": 2, "seed": 1},
    "tools, named": {"max_tokens": 600, "tools": TOOLS, "tool_choice": TOOLS[0] | {"function": {"name": "ring"}}},
    "tools, cut in the markup": {"max_tokens": 3, "tools": TOOLS, "tool_choice": "required"},
    "tools, cut in the arguments": {"max_tokens": 30, "tools": TOOLS[:1], "tool_choice": "required"},
    "speculation": {"max_tokens": 12, "model": SPECULATING_MODEL},
    "reasoning": {"max_tokens": 32, "model": VISION_MODEL},
    "an image": {"max_tokens": 6, "model": VISION_MODEL, "messages": [{"role": "user", "content": PICTURE}]},
}
RESPONSE_BODIES: dict[str, dict[str, Any]] = {
    "plain": {"max_output_tokens": 6, "logit_bias": NO_END},
    "to its end": {"max_output_tokens": 300},
    "every echo": {
        "max_output_tokens": 6, "metadata": {"order": "42"}, "safety_identifier": "x", "prompt_cache_key": "y",
        "instructions": "Be brief.", "reasoning": {"effort": "low"}, "truncation": "auto", "user": "somebody",
    },
    "logprobs": {"max_output_tokens": 6, "include": ["message.output_text.logprobs"], "top_logprobs": 2},
    "verbosity": {"max_output_tokens": 6, "text": {"verbosity": "low"}},
    "JSON object": {"max_output_tokens": 40, "text": {"format": {"type": "json_object"}}},
    "JSON schema": {"max_output_tokens": 100, "text": FLAT_FORMAT},
    "tools, auto": {"max_output_tokens": 6, "tools": FLAT_TOOLS},
    "tools, none": {"max_output_tokens": 6, "tools": FLAT_TOOLS, "tool_choice": "none"},
    "tools, required": {"max_output_tokens": 600, "tools": FLAT_TOOLS, "tool_choice": "required"},
    "tools, named": {
        "max_output_tokens": 600, "tools": FLAT_TOOLS, "tool_choice": {"type": "function", "name": "ring"},
    },
    "tools, cut in the markup": {"max_output_tokens": 3, "tools": FLAT_TOOLS, "tool_choice": "required"},
    "tools, cut in the arguments": {"max_output_tokens": 30, "tools": FLAT_TOOLS[:1], "tool_choice": "required"},
    "speculation": {"max_output_tokens": 12, "model": SPECULATING_MODEL},
    "reasoning": {"max_output_tokens": 32, "model": VISION_MODEL},
    "an image": {"max_output_tokens": 6, "model": VISION_MODEL, "input": [{"role": "user", "content": FLAT_PICTURE}]},
}  # fmt: skip


def chat(http: httpx.Client, mode: str, **changes: Any) -> httpx.Response:
    return http.post(CHAT, json={"model": MODEL, "messages": MESSAGES} | CHATS[mode] | changes)


def respond(http: httpx.Client, mode: str, **changes: Any) -> httpx.Response:
    return http.post(RESPONSES, json={"model": MODEL, "input": "Say something."} | RESPONSE_BODIES[mode] | changes)


@pytest.mark.parametrize("mode", CHATS)
def test_chat(http: httpx.Client, mode: str) -> None:
    answer = chat(http, mode).json()
    check_shape(openai_answers.CHAT, answer)
    for choice in answer["choices"]:
        assert choice["message"].get("tool_calls") != [], "an empty list of calls"


@pytest.mark.parametrize("usage", [False, True], ids=["", "usage"])
@pytest.mark.parametrize("mode", CHATS)
def test_a_stream_of_chat(http: httpx.Client, mode: str, usage: bool) -> None:
    response = chat(http, mode, stream=True, stream_options={"include_usage": usage})
    assert response.text.endswith("\n\ndata: [DONE]\n\n")
    chunks = events_of(response)
    for chunk in chunks:
        check_shape(openai_answers.CHAT_CHUNK, chunk)
    assert [chunk["choices"] for chunk in chunks if chunk.get("usage")] == [[]] * usage
    if usage:
        assert chunks.pop()["choices"] == []
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert len(choices) == len(chunks)
    indexes = {choice["index"] for choice in choices}
    assert indexes == set(range(CHATS[mode].get("n", 1)))
    for index in indexes:
        first, *others = [choice for choice in choices if choice["index"] == index]
        assert first["delta"]["role"] == "assistant"
        assert not any("role" in choice["delta"] for choice in others)
        *without, reason = [choice["finish_reason"] for choice in (first, *others)]
        assert reason
        assert not any(without)


def test_a_stream_of_chat_that_fails_has_no_done(http: httpx.Client) -> None:
    """What the engine finds too late is an event of the stream or a status, and nothing follows it."""
    wrong = {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "integer", "minimum": 9, "maximum": 1}},
    }
    response = chat(http, "plain", stream=True, response_format=wrong)
    assert "[DONE]" not in response.text
    check_shape(openai_answers.ERROR, json.loads(response.text.strip().split("\n\n")[-1].removeprefix("data: ")))


@pytest.mark.parametrize("mode", RESPONSE_BODIES)
def test_responses(http: httpx.Client, mode: str) -> None:
    check_shape(openai_answers.RESPONSE, respond(http, mode).json())


@pytest.mark.parametrize("mode", RESPONSE_BODIES)
def test_a_stream_of_responses(http: httpx.Client, mode: str) -> None:
    response = respond(http, mode, stream=True)
    assert response.text.endswith("\n\ndata: [DONE]\n\n")
    for event in events_of(response):
        check_shape(openai_answers.RESPONSE_EVENT, event)


@pytest.mark.parametrize("dimensions", [{}, {"dimensions": 16}], ids=["", "dimensions"])
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings(http: httpx.Client, encoding: str, dimensions: dict[str, int]) -> None:
    body = {"model": EMBEDDING_MODEL, "input": ["a", "b"], "encoding_format": encoding} | dimensions
    answer = http.post("/v1/embeddings", json=body).json()
    for item in answer["data"] if encoding == "base64" else ():
        item["embedding"] = [number for (number,) in struct.iter_unpack("<f", base64.b64decode(item["embedding"]))]
    check_shape(openai_answers.EMBEDDINGS, answer)


def test_models(http: httpx.Client) -> None:
    answer = http.get("/v1/models").json()
    check_shape(openai_answers.MODELS, answer)
    for card in answer["data"]:
        check_shape(openai_answers.MODEL_CARD, http.get(f"/v1/models/{card['id']}").json())


@pytest.mark.parametrize("granularities", [[], ["word"], ["word", "segment"]])
@pytest.mark.parametrize("form", ["json", "verbose_json"])
def test_transcriptions(http: httpx.Client, form: str, granularities: list[str]) -> None:
    fields: dict[str, Any] = {"model": TRANSCRIPTION_MODEL, "response_format": form}
    if form == "verbose_json":
        fields["timestamp_granularities[]"] = granularities
    audio = recordings.encoded(recordings.voice(2), "wav")
    answer = http.post("/v1/audio/transcriptions", data=fields, files={"file": ("a.wav", audio)}).json()
    verbose = form == "verbose_json"
    check_shape(openai_answers.VERBOSE_TRANSCRIPTION if verbose else openai_answers.TRANSCRIPTION, answer)


def test_a_stream_of_speech(http: httpx.Client) -> None:
    body = {"model": SPEECH_MODEL, "input": "Hello.", "stream_format": "sse"}
    for event in events_of(http.post("/v1/audio/speech", json=body)):
        check_shape(openai_answers.SPEECH_EVENT, event)


ERRORS: dict[str, tuple[str, str, Any]] = {
    "no such route": ("POST", "/v1/nothing", {}),
    "no such model": ("POST", CHAT, {"model": "nothing", "messages": MESSAGES}),
    "no such card": ("GET", "/v1/models/nothing", None),
    "wrong method": ("GET", CHAT, None),
    "a missing parameter": ("POST", CHAT, {"model": MODEL}),
    "a wrong value": ("POST", RESPONSES, {"model": MODEL, "input": "a", "background": True}),
    "a long input": ("POST", RESPONSES, {"model": MODEL, "input": "word " * 3000}),
    "no input": ("POST", "/v1/embeddings", {"model": EMBEDDING_MODEL, "input": ""}),
    "no prompt": ("POST", "/v1/images/generations", {"model": MODEL}),
    "no text": ("POST", "/v1/audio/speech", {"model": SPEECH_MODEL}),
    "no file": ("POST", "/v1/audio/transcriptions", {"model": TRANSCRIPTION_MODEL}),
}


@pytest.mark.parametrize("fault", ERRORS)
def test_errors(http: httpx.Client, fault: str) -> None:
    method, path, body = ERRORS[fault]
    response = http.request(method, path, json=body)
    assert response.status_code >= 400
    check_shape(openai_answers.ERROR, response.json())


def test_an_error_of_a_key(http: httpx.Client) -> None:
    response = http.get("/v1/models", headers={"authorization": "Bearer sk-wrong"})
    assert response.status_code == 401
    check_shape(openai_answers.ERROR, response.json())


class TestTheStrictClient:
    """`OpenAI(_strict_response_validation=True)`, as a program uses it."""

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("mode", CHATS)
    def test_chat(self, client: Any, mode: str, stream: bool) -> None:
        answer = client.chat.completions.create(
            **{"model": MODEL, "messages": MESSAGES, "stream": stream} | CHATS[mode]
        )
        assert [chunk.id for chunk in answer] if stream else answer.id

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("mode", RESPONSE_BODIES)
    def test_responses(self, client: Any, mode: str, stream: bool) -> None:
        body = {"model": MODEL, "input": "Say something.", "stream": stream} | RESPONSE_BODIES[mode]
        extra = {name: body.pop(name) for name in ("logit_bias",) if name in body}
        answer = client.responses.create(**body, extra_body=extra)
        assert [event.type for event in answer] if stream else answer.id

    def test_embeddings_models_transcriptions_and_speech(self, client: Any) -> None:
        assert client.embeddings.create(model=EMBEDDING_MODEL, input="a", encoding_format="float").data
        assert all(client.models.retrieve(card.id).id == card.id for card in client.models.list())
        audio = recordings.encoded(recordings.voice(2), "wav")
        for form in ("json", "verbose_json", "text", "srt", "vtt"):
            assert client.audio.transcriptions.create(
                model=TRANSCRIPTION_MODEL, file=("a.wav", audio), response_format=form
            )
        assert client.audio.speech.create(model=SPEECH_MODEL, input="Hello.", voice="alloy").content
