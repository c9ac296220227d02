"""Images and streamed transcriptions, as OpenAI's strictest readers take them. See `test_strict_validation.py`."""

from typing import Any

import httpx
import pytest

from tests import openai_answers, recordings
from tests.contract.conftest import FLUX_MODEL, IMAGE_MODEL, TRANSCRIPTION_MODEL
from tests.openai_answers import check_shape, events_of

IMAGES = "/v1/images/generations"


@pytest.mark.parametrize("form", ["b64_json", "url"])
@pytest.mark.parametrize("model", [IMAGE_MODEL, FLUX_MODEL])
def test_images(http: httpx.Client, model: str, form: str) -> None:
    response = http.post(IMAGES, json={"model": model, "prompt": "a boat", "response_format": form})
    check_shape(openai_answers.IMAGES, response.json())


def test_a_stream_of_images(http: httpx.Client) -> None:
    body = {"model": FLUX_MODEL, "prompt": "a boat", "stream": True, "partial_images": 1}
    for event in events_of(http.post(IMAGES, json=body)):
        check_shape(openai_answers.IMAGE_EVENT, event)


def test_a_stream_of_a_transcription(http: httpx.Client) -> None:
    audio = recordings.encoded(recordings.voice(2), "wav")
    fields = {"model": TRANSCRIPTION_MODEL, "stream": "true"}
    for event in events_of(http.post("/v1/audio/transcriptions", data=fields, files={"file": ("a.wav", audio)})):
        check_shape(openai_answers.TRANSCRIPTION_EVENT, event)


def test_the_strict_client(client: Any) -> None:
    assert client.images.generate(model=IMAGE_MODEL, prompt="a boat").data
    assert list(client.images.generate(model=FLUX_MODEL, prompt="a boat", stream=True, partial_images=1))
    audio = recordings.encoded(recordings.voice(2), "wav")
    assert list(client.audio.transcriptions.create(model=TRANSCRIPTION_MODEL, file=("a.wav", audio), stream=True))
