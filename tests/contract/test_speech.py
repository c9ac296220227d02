"""POST /v1/audio/speech with the openai package, on eSpeak NG."""

import base64
import io
from typing import Any

import av
import httpx
import orjson
import pytest

from tests.contract.conftest import MESSAGES, MODEL, SPEECH_MODEL, TRANSCRIPTION_MODEL
from tests.unit.conftest import assert_error

SPEECH = "/v1/audio/speech"
TEXT = "The quick brown fox jumps over the lazy dog. A gateway reads the request."
TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


def ask(**changes: Any) -> dict[str, Any]:
    return {"model": SPEECH_MODEL, "input": TEXT, "voice": "alloy"} | changes


def seconds(kind: str, data: bytes) -> float:
    if kind == "pcm":
        return len(data) / 2 / 24_000
    with av.open(io.BytesIO(data)) as container:
        return float(sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)))


@pytest.fixture(scope="module")
def length(http: httpx.Client) -> float:
    """How long the text takes, in seconds."""
    return seconds("pcm", http.post(SPEECH, json=ask(response_format="pcm")).content)


@pytest.mark.parametrize("kind", TYPES)
def test_a_text_becomes_sound_of_every_format(client: Any, length: float, kind: str) -> None:
    with client.audio.speech.with_streaming_response.create(**ask(response_format=kind)) as response:
        assert response.headers["content-type"] == TYPES[kind]
        assert response.headers["x-usage-characters"] == str(len(TEXT))
        data = b"".join(response.iter_bytes())
    assert 3 < length < 10
    assert seconds(kind, data) == pytest.approx(length, rel=0.05)


def test_the_usual_format_is_mp3_and_the_usual_voice_the_first(http: httpx.Client) -> None:
    response = http.post(SPEECH, json={"model": SPEECH_MODEL, "input": "Hello."})
    assert response.headers["content-type"] == "audio/mpeg"
    lengths = [
        seconds("wav", http.post(SPEECH, json=ask(voice=voice, response_format="wav")).content)
        for voice in (None, "alloy", "fable")
    ]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.02)
    assert lengths[2] != pytest.approx(lengths[1], rel=0.002)


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_speed(http: httpx.Client, length: float, speed: float) -> None:
    data = http.post(SPEECH, json=ask(response_format="wav", speed=speed)).content
    assert seconds("wav", data) == pytest.approx(length / speed, rel=0.05)


def test_events_carry_the_same_sound(http: httpx.Client, length: float) -> None:
    response = http.post(SPEECH, json=ask(response_format="pcm", stream_format="sse"))
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["x-usage-characters"] == str(len(TEXT))
    events = [orjson.loads(event.partition("data: ")[2]) for event in response.text.strip().split("\n\n")]
    *deltas, done = events
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    sound = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    assert seconds("pcm", sound) == pytest.approx(length, rel=0.02)
    usage = done["usage"]
    assert done["type"] == "speech.audio.done"
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > usage["input_tokens"] > 0


def test_what_was_changed_is_said(http: httpx.Client) -> None:
    response = http.post(SPEECH, json=ask(input="Hi.", speed=9, instructions="Whisper.", tone="warm"))
    told = response.headers["x-param-adjustments"]
    assert told.startswith('speed;action=clamp;from=9;to=4.0, instructions;action=drop;reason="this engine speaks by')
    assert told.endswith('tone;action=drop;reason="unknown parameter"')


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"input": ""}, 400, "invalid_value", "input"),
        ({"input": " \n "}, 400, "invalid_value", "input"),
        ({"input": None}, 400, "missing_required_parameter", "input"),
        ({"input": ["hi"]}, 400, "invalid_type", "input"),
        ({"input": "a" * 4097}, 422, "context_length_exceeded", "input"),
        ({"voice": "nobody"}, 400, "invalid_value", "voice"),
        ({"voice": 7}, 400, "invalid_type", "voice"),
        ({"response_format": "ogg"}, 400, "invalid_value", "response_format"),
        ({"stream_format": "chunks"}, 400, "invalid_value", "stream_format"),
        ({"speed": "fast"}, 400, "invalid_type", "speed"),
        ({"model": MODEL}, 400, "unsupported_capability", "input"),
    ],
)
def test_what_cannot_be_said(http: httpx.Client, changes: Any, status: int, code: str, param: str) -> None:
    assert_error(http.post(SPEECH, json=ask(**changes)), status, "invalid_request_error", code, param)


def test_an_unknown_voice_is_told_the_known_ones(http: httpx.Client) -> None:
    voices = http.get(f"/v1/models/{SPEECH_MODEL}").json()["portico"]["voices"]
    message = http.post(SPEECH, json=ask(voice="nobody")).json()["error"]["message"]
    assert all(voice in message for voice in voices)


def test_a_voice_model_does_not_chat(http: httpx.Client) -> None:
    response = http.post("/v1/chat/completions", json={"model": SPEECH_MODEL, "messages": MESSAGES})
    assert_error(response, 400, "invalid_request_error", "unsupported_capability", "messages")


def test_speech_can_be_transcribed(client: Any, length: float) -> None:
    sound = client.audio.speech.create(**ask(response_format="flac")).content
    found = client.audio.transcriptions.create(
        model=TRANSCRIPTION_MODEL, file=("speech.flac", sound), response_format="verbose_json", language="en"
    )
    assert float(found.duration) == pytest.approx(length, rel=0.05)
