"""POST /v1/audio/translations with the openai package, on a real Whisper of random weights."""

import re
from typing import Any

import httpx
import pytest
from openai.types.audio import Translation, TranslationVerbose

from tests.contract.conftest import MODEL, TRANSCRIPTION_MODEL
from tests.recordings import TEXT, encoded, voice
from tests.unit.conftest import assert_error

TRANSLATIONS = "/v1/audio/translations"
VOICE = encoded(voice(6), "flac")


def body_of(content: bytes = VOICE, **changes: Any) -> dict[str, Any]:
    return {"model": TRANSCRIPTION_MODEL, "file": ("voice.flac", content)} | changes


def post(http: httpx.Client, content: bytes = VOICE, **fields: Any) -> httpx.Response:
    return http.post(TRANSLATIONS, data={"model": TRANSCRIPTION_MODEL} | fields, files={"file": ("a.mp3", content)})


def test_json(client: Any) -> None:
    answer = client.audio.translations.create(**body_of())
    assert isinstance(answer, Translation)
    assert answer.text
    assert answer.usage == {"type": "duration", "seconds": 6}  # type: ignore[attr-defined]


def test_text(client: Any, http: httpx.Client) -> None:
    text = client.audio.translations.create(**body_of()).text
    assert client.audio.translations.create(**body_of(), response_format="text") == text + "\n"
    assert post(http, response_format="text").headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("form", "media_type", "cue"),
    [
        ("srt", "application/x-subrip; charset=utf-8", r"1\n00:00:\d\d,\d{3} --> 00:00:\d\d,\d{3}\n.+\n"),
        ("vtt", "text/vtt; charset=utf-8", r"WEBVTT\n\n00:00:\d\d\.\d{3} --> 00:00:\d\d\.\d{3}\n.+\n"),
    ],
)
def test_subtitles(http: httpx.Client, client: Any, form: str, media_type: str, cue: str) -> None:
    response = post(http, response_format=form)
    assert response.headers["content-type"] == media_type
    assert re.match(cue, response.text)
    assert client.audio.translations.create(**body_of(), response_format=form) == response.text


@pytest.mark.parametrize("fields", [{}, {"language": "de"}], ids=["detected", "german"])
def test_verbose_json_is_in_english_whatever_is_spoken(client: Any, fields: dict[str, Any]) -> None:
    answer = client.audio.translations.create(**body_of(), response_format="verbose_json", extra_body=fields)
    assert isinstance(answer, TranslationVerbose)
    assert (answer.language, answer.duration, answer.task) == ("english", 6, "translate")  # type: ignore[attr-defined]
    assert answer.segments
    assert all(0 <= segment.start <= segment.end <= 6 for segment in answer.segments)


def test_what_is_changed_is_reported(http: httpx.Client) -> None:
    response = post(http, prompt="A fox.", temperature="3", to_language="en", stream="false", foo="1")
    assert response.headers["x-param-adjustments"] == (
        'temperature;action=clamp;from=3;to=1.0, foo;action=drop;reason="unknown parameter"'
    )
    strict = post(http, temperature="3", strict_params="true")
    assert_error(strict, 400, "invalid_request_error", "invalid_value", "temperature")


def test_it_answers_under_its_pipeline(http: httpx.Client) -> None:
    response = http.post(f"/v1/{TRANSCRIPTION_MODEL}/audio/translations", files={"file": ("a.flac", VOICE)})
    assert response.json()["text"]


def test_a_model_of_transcriptions_says_that_it_translates(http: httpx.Client) -> None:
    card = http.get(f"/v1/models/{TRANSCRIPTION_MODEL}").json()["portico"]
    assert card["capabilities"] == ["transcriptions", "translations"]


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"response_format": "diarized_json"}, "unsupported_parameter", "response_format"),
        ({"response_format": "docx"}, "invalid_value", "response_format"),
        ({"to_language": "de"}, "unsupported_parameter", "to_language"),
        ({"language": "klingon"}, "invalid_value", "language"),
        ({"stream": "true"}, "unsupported_parameter", "stream"),
        ({"timestamp_granularities[]": "word"}, "unsupported_parameter", "timestamp_granularities"),
        ({"model": MODEL}, "unsupported_capability", "file"),
        ({"model": ""}, "missing_required_parameter", "model"),
    ],
)
def test_what_is_refused(http: httpx.Client, fields: Any, code: str, param: str) -> None:
    assert_error(post(http, **fields), 400, "invalid_request_error", code, param)


def test_what_is_no_recording(http: httpx.Client) -> None:
    assert_error(post(http, TEXT), 422, "invalid_request_error", "invalid_audio", "file")
