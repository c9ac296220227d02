"""Checks answers as OpenAI's own clients and its own specification do: strictly, and every event of a stream."""

import json
from typing import Any, NamedTuple

import httpx
import pydantic
from openai.pagination import SyncPage
from openai.types import Completion, CreateEmbeddingResponse, ImageGenStreamEvent, ImagesResponse, Model
from openai.types.audio import Transcription, TranscriptionStreamEvent, TranscriptionVerbose
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.input_token_count_response import InputTokenCountResponse

from contract.protocol import EVENT_STREAM
from tests.openai_specification import violation


class Shape(NamedTuple):
    """What OpenAI's Python client reads an answer as, if it has a type for it, and the specification's schema."""

    type: Any
    schema: str


CHAT = Shape(ChatCompletion, "CreateChatCompletionResponse")
CHAT_CHUNK = Shape(ChatCompletionChunk, "CreateChatCompletionStreamResponse")
COMPLETION = Shape(Completion, "CreateCompletionResponse")
INPUT_TOKENS = Shape(InputTokenCountResponse, "TokenCountsResource")
RESPONSE = Shape(Response, "Response")
RESPONSE_EVENT = Shape(ResponseStreamEvent, "ResponseStreamEvent")
EMBEDDINGS = Shape(CreateEmbeddingResponse, "CreateEmbeddingResponse")
MODELS = Shape(SyncPage[Model], "ListModelsResponse")
MODEL_CARD = Shape(Model, "Model")
IMAGES = Shape(ImagesResponse, "ImagesResponse")
IMAGE_EVENT = Shape(ImageGenStreamEvent, "ImageGenStreamEvent")
TRANSCRIPTION = Shape(Transcription, "CreateTranscriptionResponseJson")
VERBOSE_TRANSCRIPTION = Shape(TranscriptionVerbose, "CreateTranscriptionResponseVerboseJson")
TRANSCRIPTION_EVENT = Shape(TranscriptionStreamEvent, "CreateTranscriptionResponseStreamEvent")
SPEECH_EVENT = Shape(None, "CreateSpeechResponseStreamEvent")
ERROR = Shape(None, "ErrorResponse")


def check_shape(shape: Shape, answer: Any) -> None:
    """Raises where OpenAI's type or its specification refuses `answer`. More fields than they name are legal."""
    if shape.type is not None:
        pydantic.TypeAdapter(shape.type).validate_json(json.dumps(answer), strict=True)
    wrong = violation(shape.schema, answer)
    assert wrong is None, f"{wrong}\n{json.dumps(answer)[:2000]}"


def events_of(response: httpx.Response) -> list[Any]:
    """The events of a stream as JSON, without `[DONE]`."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith(EVENT_STREAM)
    data = [line.removeprefix("data: ") for line in response.text.split("\n") if line.startswith("data: ")]
    return [json.loads(one) for one in data if one != "[DONE]"]
