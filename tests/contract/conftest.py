"""The OpenAI clients of the contract tests; they check every answer against OpenAI's types."""

from collections.abc import AsyncIterator, Iterator

import openai
import pytest

from app.keys import LOCAL_KEY
from tests.conftest import Service

MODEL = "pocket-chat"
VISION_MODEL = "pocket-vision"
SPECULATING_MODEL = "pocket-fast"
EMBEDDING_MODEL = "pocket-embed"
RERANKING_MODEL = "pocket-rerank"
IMAGE_MODEL = "pocket-image"
FLUX_MODEL = "pocket-flux"
TRANSCRIPTION_MODEL = "pocket-whisper"
SPEECH_MODEL = "pocket-speech"
VITS_MODEL = "pocket-vits"
BARK_MODEL = "pocket-bark"
MESSAGES = [{"role": "user", "content": "Say something."}]
NO_END = {"3": -100}  # the end-of-turn token, never chosen: an answer as long as its limit


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=service.base_url, api_key=LOCAL_KEY, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture(scope="session")
async def async_client(service: Service) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=service.base_url, api_key=LOCAL_KEY, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client
