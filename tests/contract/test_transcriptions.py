"""POST /v1/audio/transcriptions with the openai package, on a real Whisper of random weights."""

import asyncio
import json
import re
from typing import Any

import httpx
import pytest
from openai.types.audio import TranscriptionTextDeltaEvent, TranscriptionTextDoneEvent, TranscriptionVerbose

from contract.options.whisper_languages import LANGUAGES
from tests.contract.conftest import MESSAGES, MODEL, TRANSCRIPTION_MODEL
from tests.recordings import FORMATS, TEXT, encoded, long_silence, silence, voice
from tests.sample_images import PNG
from tests.unit.conftest import assert_error

TRANSCRIPTIONS = "/v1/audio/transcriptions"
VOICE = encoded(voice(6), "flac")
LONG = encoded(voice(75), "flac")
MAX_FILE_BYTES = 25 * 1024 * 1024


def body_of(content: bytes = VOICE, **changes: Any) -> dict[str, Any]:
    return {"model": TRANSCRIPTION_MODEL, "file": ("voice.flac", content)} | changes


def post(http: httpx.Client, content: bytes = VOICE, **fields: Any) -> httpx.Response:
    return http.post(TRANSCRIPTIONS, data={"model": TRANSCRIPTION_MODEL} | fields, files={"file": ("a.mp3", content)})


@pytest.mark.parametrize("form", FORMATS)
def test_every_container(client: Any, form: str) -> None:
    answer = client.audio.transcriptions.create(**body_of(encoded(voice(6), form)))
    assert answer.text
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == pytest.approx(6, abs=0.2)


def test_text(client: Any, http: httpx.Client) -> None:
    text = client.audio.transcriptions.create(**body_of()).text
    assert client.audio.transcriptions.create(**body_of(), response_format="text") == text + "\n"
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
    assert len(response.headers["x-request-id"]) == 36
    assert re.match(cue, response.text)
    assert client.audio.transcriptions.create(**body_of(), response_format=form) == response.text


@pytest.mark.parametrize("granularities", [["segment"], ["word"], ["word", "segment"]])
def test_verbose_json(client: Any, granularities: list[str]) -> None:
    answer = client.audio.transcriptions.create(
        **body_of(), response_format="verbose_json", timestamp_granularities=granularities, language="German"
    )
    assert isinstance(answer, TranscriptionVerbose)
    assert (answer.language, answer.duration) == ("german", 6)
    assert (bool(answer.segments), bool(answer.words)) == ("segment" in granularities, "word" in granularities)
    timed: Any
    for timed in [*(answer.segments or []), *(answer.words or [])]:
        assert 0 <= timed.start <= timed.end <= 6


def test_a_detected_language_has_its_name(client: Any) -> None:
    answer = client.audio.transcriptions.create(**body_of(), response_format="verbose_json")
    assert answer.language in LANGUAGES.values()


def test_a_stream_is_deltas_and_then_the_whole(client: Any) -> None:
    """OpenAI's type of the last event knows usage in tokens only; ours is in seconds, beside it."""
    *deltas, done = client.audio.transcriptions.create(**body_of(LONG), stream=True)
    assert len(deltas) > 1
    assert all(isinstance(event, TranscriptionTextDeltaEvent) for event in deltas)
    assert isinstance(done, TranscriptionTextDoneEvent)
    assert done.text == "".join(event.delta for event in deltas)
    assert done.usage is None
    assert done.portico == {"usage": {"type": "duration", "seconds": 75}}  # type: ignore[attr-defined]


def test_a_stream_on_the_wire(http: httpx.Client) -> None:
    response = post(http, stream="true")
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [json.loads(event.removeprefix("data: ")) for event in response.text.strip().split("\n\n")]
    assert [event["type"] for event in events][-1] == "transcript.text.done"
    TranscriptionTextDoneEvent.model_validate(events[-1], strict=True)


@pytest.mark.parametrize("stream", ["false", "true"])
def test_silence_has_no_words(http: httpx.Client, stream: str) -> None:
    response = post(http, encoded(silence(5), "mp3"), stream=stream)
    assert json.loads(response.text.removeprefix("data: "))["text"] == ""


def test_prompts_hotwords_and_temperature_are_taken(http: httpx.Client) -> None:
    response = post(http, prompt="A fox, café.", hotwords="fox", temperature="0.2", vad_filter="false")
    assert response.status_code == 200
    assert "x-param-adjustments" not in response.headers


def test_what_is_changed_is_reported(http: httpx.Client) -> None:
    include: dict[str, Any] = {"include[]": "logprobs"}
    response = post(http, temperature="3", chunking_strategy="auto", **include, foo="1")
    reported = response.headers["x-param-adjustments"]
    assert re.fullmatch(
        r"temperature;action=clamp;from=3;to=1\.0, chunking_strategy;action=ignore, "
        r'include;action=drop;reason="[^"]+", foo;action=drop;reason="unknown parameter"',
        reported,
    )
    assert_error(
        post(http, temperature="3", strict_params="true"), 400, "invalid_request_error", "invalid_value", "temperature"
    )


def test_it_answers_under_its_pipeline(http: httpx.Client) -> None:
    response = http.post(f"/v1/{TRANSCRIPTION_MODEL}/audio/transcriptions", files={"file": ("a.flac", VOICE)})
    assert response.json()["text"]


async def test_requests_at_once_each_get_their_own(async_client: Any) -> None:
    contents = [encoded(voice(seconds), "flac") for seconds in (2, 3, 4, 5, 6, 7)]
    together = await asyncio.gather(*(async_client.audio.transcriptions.create(**body_of(c)) for c in contents))
    assert [answer.usage.seconds for answer in together] == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (b"", "empty"),
        (TEXT, "no recording"),
        (PNG, "no recording"),
        (encoded(voice(6), "mp3")[:300], "no recording"),
        (long_silence(120), "3600 s"),
    ],
    ids=["empty", "text named .mp3", "PNG", "truncated MP3", "two hours of silence"],
)
def test_what_is_no_recording(http: httpx.Client, content: bytes, reported: str) -> None:
    response = post(http, content)
    assert_error(response, 422, "invalid_request_error", "invalid_audio", "file")
    assert reported in response.json()["error"]["message"]


def test_a_truncated_mp3_is_transcribed_as_far_as_it_goes(http: httpx.Client) -> None:
    content = encoded(voice(6), "mp3")
    assert post(http, content[: len(content) // 2]).json()["usage"]["seconds"] == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"language": "klingon"}, "invalid_value", "language"),
        ({"response_format": "docx"}, "invalid_value", "response_format"),
        ({"response_format": "diarized_json"}, "unsupported_parameter", "response_format"),
        ({"temperature": "warm"}, "invalid_type", "temperature"),
        ({"temperature": "NaN"}, "invalid_type", "temperature"),
        ({"stream": "maybe"}, "invalid_type", "stream"),
        ({"stream": "true", "response_format": "srt"}, "invalid_value", "stream"),
        ({"timestamp_granularities[]": "word"}, "invalid_value", "timestamp_granularities"),
        ({"known_speaker_names[]": "Ann"}, "unsupported_parameter", "known_speaker_names"),
        ({"model": MODEL}, "unsupported_capability", "file"),
        ({"model": ""}, "missing_required_parameter", "model"),
    ],
)
def test_what_is_refused(http: httpx.Client, fields: Any, code: str, param: str) -> None:
    assert_error(post(http, **fields), 400, "invalid_request_error", code, param)


def test_an_unknown_language_is_answered_with_the_known_ones(http: httpx.Client) -> None:
    message = post(http, language="klingon").json()["error"]["message"]
    assert "`german`" in message
    assert " de, " in message


def test_forms_that_are_wrong(http: httpx.Client) -> None:
    fields = {"model": TRANSCRIPTION_MODEL}
    no_file = http.post(TRANSCRIPTIONS, data=fields, files={"other": ("a", b"")})
    two_files = http.post(TRANSCRIPTIONS, data=fields, files=[("file", ("a", VOICE)), ("file", ("b", VOICE))])
    json_body = http.post(TRANSCRIPTIONS, json=fields)
    for response, code, param in [
        (no_file, "missing_required_parameter", "file"),
        (two_files, "invalid_form", "file"),
        (json_body, "invalid_form", None),
    ]:
        assert_error(response, 400, "invalid_request_error", code, param)


def test_the_largest_file_and_one_byte_more(http: httpx.Client) -> None:
    largest = encoded(voice(6), "wav").ljust(MAX_FILE_BYTES, b"\0")
    assert post(http, largest).json()["text"]
    assert_error(post(http, largest + b"\0"), 413, "invalid_request_error", "request_too_large", "file")


def test_a_whisper_does_not_chat(http: httpx.Client) -> None:
    response = http.post("/v1/chat/completions", json={"model": TRANSCRIPTION_MODEL, "messages": MESSAGES})
    assert_error(response, 400, "invalid_request_error", "unsupported_capability", "messages")
