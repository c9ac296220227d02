"""/openapi.json against the running service: every answer has the schema that the document has for it."""

from typing import Any

import httpx
import pytest

from tests import recordings
from tests.answer_schemas import check_answer
from tests.contract.conftest import (
    EMBEDDING_MODEL,
    FLUX_MODEL,
    IMAGE_MODEL,
    MESSAGES,
    MODEL,
    SPEECH_MODEL,
    TRANSCRIPTION_MODEL,
    VISION_MODEL,
)
from tests.sample_images import image

FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"unit": {"enum": ["c"]}}}}
CHAT = {"model": MODEL, "messages": MESSAGES, "max_tokens": 8, "n": 2, "logprobs": True, "top_logprobs": 2}
CALL = {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required", "max_tokens": 64}
COMPLETION = {"model": MODEL, "prompt": ["a", "b"], "max_tokens": 8, "echo": True, "logprobs": 2}
RESPONSE = {"model": MODEL, "input": "Say something.", "max_output_tokens": 8, "metadata": {"order": "42"}}
FLAT_CALL = {"tools": [{"type": "function", **FUNCTION}], "tool_choice": "required", "max_output_tokens": 64}
MESSAGE = {"model": MODEL, "messages": MESSAGES, "max_tokens": 8, "metadata": {"user_id": "u"}}
ANTHROPIC_CALL = {
    "tools": [{"name": "weather", "input_schema": FUNCTION["parameters"]}],
    "tool_choice": {"type": "any"},
    "max_tokens": 64,
}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", CHAT | {"stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/chat/completions", {"model": MODEL, "messages": MESSAGES} | CALL),
    ("/v1/chat/completions", {"model": MODEL, "messages": MESSAGES, "stream": True} | CALL),
    ("/v1/chat/completions", {"model": VISION_MODEL, "messages": MESSAGES, "max_tokens": 32}),
    ("/v1/responses", RESPONSE),
    ("/v1/responses", RESPONSE | {"stream": True}),
    ("/v1/responses", RESPONSE | FLAT_CALL),
    ("/v1/responses", RESPONSE | FLAT_CALL | {"stream": True}),
    ("/v1/responses", RESPONSE | {"model": VISION_MODEL, "max_output_tokens": 32}),
    ("/v1/responses", RESPONSE | {"model": VISION_MODEL, "max_output_tokens": 32, "stream": True}),
    ("/v1/messages", MESSAGE),
    ("/v1/messages", MESSAGE | {"stream": True}),
    ("/v1/messages", MESSAGE | ANTHROPIC_CALL),
    ("/v1/messages", MESSAGE | ANTHROPIC_CALL | {"stream": True}),
    ("/v1/messages", MESSAGE | {"model": VISION_MODEL, "max_tokens": 32}),
    ("/v1/messages", MESSAGE | {"model": VISION_MODEL, "max_tokens": 32, "stream": True}),
    ("/v1/messages/count_tokens", {"model": MODEL, "messages": MESSAGES}),
    ("/v1/completions", COMPLETION),
    ("/v1/completions", COMPLETION | {"stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/responses/input_tokens", {"model": MODEL, "input": "Say something."}),
    ("/v1/tokenize", {"model": MODEL, "prompt": "a", "return_token_strs": True}),
    ("/v1/tokenize", {"model": MODEL, "messages": MESSAGES}),
    ("/v1/detokenize", {"model": MODEL, "tokens": [30, 40]}),
    ("/v1/embeddings", {"model": EMBEDDING_MODEL, "input": ["a", "b"]}),
    ("/v1/embeddings", {"model": EMBEDDING_MODEL, "input": "a", "encoding_format": "base64"}),
    ("/v1/images/generations", {"model": IMAGE_MODEL, "prompt": "a boat"}),
    ("/v1/images/generations", {"model": IMAGE_MODEL, "prompt": "a boat", "response_format": "url"}),
    ("/v1/images/generations", {"model": FLUX_MODEL, "prompt": "a boat", "stream": True, "partial_images": 1}),
    ("/v1/audio/speech", {"model": SPEECH_MODEL, "input": "Hello."}),
    ("/v1/audio/speech", {"model": SPEECH_MODEL, "input": "Hello.", "stream_format": "sse"}),
]


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> Any:
    return http.get("/openapi.json").json()


@pytest.mark.parametrize(("path", "request_body"), REQUESTS)
def test_an_answer_has_its_schema(http: httpx.Client, document: Any, path: str, request_body: Any) -> None:
    response = http.post(path, json=request_body)
    assert response.status_code == 200, response.text
    check_answer(document, path, response.headers["content-type"], response.content)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"]},
        {"response_format": "text"},
        {"response_format": "srt"},
        {"response_format": "vtt"},
        {"stream": "true"},
    ],
)
def test_a_transcription_has_its_schema(http: httpx.Client, document: Any, fields: dict[str, Any]) -> None:
    check_recording(http, document, "/v1/audio/transcriptions", fields)


@pytest.mark.parametrize("fields", [{}, {"response_format": "verbose_json"}, {"response_format": "text"}])
def test_a_translation_has_its_schema(http: httpx.Client, document: Any, fields: dict[str, Any]) -> None:
    check_recording(http, document, "/v1/audio/translations", fields)


def check_recording(http: httpx.Client, document: Any, path: str, fields: dict[str, Any]) -> None:
    audio = recordings.encoded(recordings.voice(2), "wav")
    response = http.post(path, data={"model": TRANSCRIPTION_MODEL} | fields, files={"file": ("a.wav", audio)})
    assert response.status_code == 200, response.text
    check_answer(document, path, response.headers["content-type"], response.content)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/images/edits", {"prompt": "a boat"}),
        ("/v1/images/edits", {"prompt": "a boat", "stream": "true", "partial_images": "1"}),
        ("/v1/images/variations", {}),
    ],
)
def test_an_image_made_of_another_has_its_schema(
    http: httpx.Client, document: Any, path: str, fields: dict[str, Any]
) -> None:
    files = {"image": ("a.png", image(64, 64))}
    response = http.post(path, data={"model": IMAGE_MODEL} | fields, files=files)
    assert response.status_code == 200, response.text
    check_answer(document, path, response.headers["content-type"], response.content)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/{id}", "/health", "/ready", "/metrics", "/openapi.json"])
def test_a_plain_route_has_its_schema(http: httpx.Client, document: Any, path: str) -> None:
    for model_id in (MODEL, SPEECH_MODEL, IMAGE_MODEL):
        response = http.get(path.replace("{id}", model_id))
        assert response.status_code == 200
        check_answer(document, path, response.headers["content-type"], response.content)
