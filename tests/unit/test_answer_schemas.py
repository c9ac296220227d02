"""The schemas of answers in /openapi.json: what OpenAI's client reads fits them, and what lacks a field does not."""

import json
from typing import Any

import jsonschema
import pydantic
import pytest
from openai.types import Completion, CreateEmbeddingResponse, ImagesResponse
from openai.types.audio import TranscriptionVerbose, TranslationVerbose
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.image_edit_completed_event import ImageEditCompletedEvent
from openai.types.image_gen_completed_event import ImageGenCompletedEvent
from openai.types.responses import Response, ResponseCompletedEvent
from openai.types.responses.input_token_count_response import InputTokenCountResponse

from app.endpoints.catalog import ENDPOINTS
from app.endpoints.openapi import document
from app.endpoints.responses import NOTHING_GENERATED
from contract import sse
from contract.protocol import EVENT_STREAM
from tests.answer_schemas import check_answer

CHAT_USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "total_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 0},
}
LOGPROBS = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}], "refusal": None}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGE = {"role": "assistant", "content": "a", "refusal": None}
CHOICES = [
    {"index": 0, "message": MESSAGE, "logprobs": LOGPROBS, "finish_reason": "stop"},
    {
        "index": 1,
        "message": MESSAGE | {"content": None, "tool_calls": [CALL]},
        "logprobs": None,
        "finish_reason": "tool_calls",
    },
]
COMPLETION = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": CHOICES,
    "usage": CHAT_USAGE,
}
CHUNK = {
    "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}, "finish_reason": None}],
}  # fmt: skip
OUTPUT = [
    {
        "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"},
    {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "a"}]},
]  # fmt: skip
RESPONSE_USAGE = {
    "input_tokens": 1, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 3,
}  # fmt: skip
RESPONSE = NOTHING_GENERATED | {
    "id": "resp_1", "created_at": 1, "model": "m", "status": "completed", "error": None, "completed_at": 2,
    "output": OUTPUT, "usage": RESPONSE_USAGE,
}  # fmt: skip
TEXT_COMPLETION = {
    "id": "1", "object": "text_completion", "created": 1, "model": "m", "usage": CHAT_USAGE,
    "choices": [
        {"index": 0, "text": "a", "finish_reason": "stop", "logprobs": None},
        {
            "index": 1, "text": "ab", "finish_reason": "length",
            "logprobs": {
                "text_offset": [0, 1], "token_logprobs": [-0.5, -1.0], "tokens": ["a", "b"],
                "top_logprobs": [{"a": -0.5}, {"b": -1.0, "c": -2.0}],
            },
        },
    ],
}  # fmt: skip
TEXT_CHUNK = {
    "id": "1", "object": "text_completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "text": "a", "finish_reason": None, "logprobs": None}],
}  # fmt: skip
INPUT_TOKENS = {"object": "response.input_tokens", "input_tokens": 7}
EMBEDDINGS = {
    "object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}  # fmt: skip
RERANKED = {
    "id": "rerank-1", "model": "m", "usage": {"prompt_tokens": 9, "total_tokens": 9},
    "results": [{"index": 1, "relevance_score": 0.9, "document": {"text": "a"}}, {"index": 0, "relevance_score": 0.1}],
}  # fmt: skip
SCORED = {
    "id": "score-1", "object": "list", "created": 1, "model": "m", "usage": {"prompt_tokens": 9, "total_tokens": 9},
    "data": [{"index": 0, "object": "score", "score": 0.9}],
}  # fmt: skip
IMAGE_USAGE = {
    "input_tokens": 1, "output_tokens": 16, "total_tokens": 17, "images": 1,
    "input_tokens_details": {"text_tokens": 1, "image_tokens": 0},
}  # fmt: skip
FACTS = {"size": "1024x1024", "quality": "auto", "background": "opaque", "output_format": "png"}
IMAGES = {"created": 1, "data": [{"b64_json": "AA=="}, {"url": "http://a/b"}], "usage": IMAGE_USAGE}
EDIT_EVENT = {"type": "image_edit.completed", "b64_json": "AA==", "created_at": 1, "usage": IMAGE_USAGE} | FACTS
IMAGE_EVENT = {"type": "image_generation.completed", "b64_json": "AA==", "created_at": 1, "usage": IMAGE_USAGE} | FACTS
DURATION = {"type": "duration", "seconds": 1.5}
TRANSCRIPTION = {
    "task": "transcribe", "language": "english", "duration": 1.5, "text": "a", "usage": DURATION,
    "words": [{"word": "a", "start": 0.0, "end": 0.5}],
}  # fmt: skip
TRANSLATION = {"task": "translate", "language": "english", "duration": 1.5, "text": "a", "usage": DURATION}
TRANSCRIPTION_EVENT = {"type": "transcript.text.done", "text": "a", "usage": DURATION}
SPEECH_EVENT = {"type": "speech.audio.delta", "audio": "AA=="}
RESPONSE_EVENT = {"type": "response.completed", "sequence_number": 9, "response": RESPONSE}

# path, whether it is an event of a stream, OpenAI's type, an answer, a field that it must have. OpenAI has no type for
# what is not its own, for events of speech and chunks of completions, and none for events of transcriptions that are
# billed by duration; tokens are in vLLM's shapes.
ANSWERS: list[tuple[str, bool, type[pydantic.BaseModel] | None, dict[str, Any], str]] = [
    ("/v1/chat/completions", False, ChatCompletion, COMPLETION, "usage"),
    ("/v1/chat/completions", True, ChatCompletionChunk, CHUNK, "choices"),
    ("/v1/responses", False, Response, RESPONSE, "completed_at"),
    ("/v1/responses", True, ResponseCompletedEvent, RESPONSE_EVENT, "sequence_number"),
    ("/v1/completions", False, Completion, TEXT_COMPLETION, "usage"),
    ("/v1/completions", True, None, TEXT_CHUNK, "choices"),
    ("/v1/responses/input_tokens", False, InputTokenCountResponse, INPUT_TOKENS, "input_tokens"),
    ("/v1/tokenize", False, None, {"count": 1, "max_model_len": 9, "tokens": [1], "token_strs": None}, "tokens"),
    ("/v1/detokenize", False, None, {"prompt": "a"}, "prompt"),
    ("/v1/embeddings", False, CreateEmbeddingResponse, EMBEDDINGS, "data"),
    ("/v1/rerank", False, None, RERANKED, "results"),
    ("/v1/score", False, None, SCORED, "data"),
    ("/v1/images/generations", False, ImagesResponse, IMAGES, "created"),
    ("/v1/images/generations", True, ImageGenCompletedEvent, IMAGE_EVENT, "b64_json"),
    ("/v1/images/edits", False, ImagesResponse, IMAGES, "created"),
    ("/v1/images/edits", True, ImageEditCompletedEvent, EDIT_EVENT, "b64_json"),
    ("/v1/images/variations", False, ImagesResponse, IMAGES, "created"),
    ("/v1/audio/transcriptions", False, TranscriptionVerbose, TRANSCRIPTION, "text"),
    ("/v1/audio/transcriptions", True, None, TRANSCRIPTION_EVENT, "type"),
    ("/v1/audio/translations", False, TranslationVerbose, TRANSLATION, "text"),
    ("/v1/audio/speech", True, None, SPEECH_EVENT, "type"),
]


def check(path: str, is_event: bool, answer: dict[str, Any]) -> None:
    body = sse.event(answer, answer.get("type")) + sse.DONE if is_event else json.dumps(answer).encode()
    check_answer(document(ENDPOINTS), path, EVENT_STREAM if is_event else "application/json", body)


@pytest.mark.parametrize(("path", "is_event", "openai_type", "answer", "field"), ANSWERS)
def test_an_answer_of_openai_s_shape_fits_and_one_without_a_field_does_not(
    path: str, is_event: bool, openai_type: type[pydantic.BaseModel] | None, answer: dict[str, Any], field: str
) -> None:
    if openai_type is not None:
        openai_type.model_validate(answer, strict=True)
    check(path, is_event, answer)
    with pytest.raises(jsonschema.ValidationError, match=f"'{field}' is a required property"):
        check(path, is_event, {name: value for name, value in answer.items() if name != field})


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_every_media_type_of_an_answer_has_a_schema(endpoint: Any) -> None:
    content = document([endpoint])["paths"][endpoint.path]["post"]["responses"]["200"]["content"]
    assert content
    assert all(described["schema"] for described in content.values())


def test_a_legal_request_of_each_endpoint_fits_its_own_schema() -> None:
    for endpoint in ENDPOINTS:
        content = document([endpoint])["paths"][endpoint.path]["post"]["requestBody"]["content"]
        request = content[endpoint.request_types[0]]
        if "example" in request:
            jsonschema.validate(request["example"], request["schema"], jsonschema.Draft202012Validator)
