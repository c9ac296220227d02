"""POST /v1/audio/speech with the openai package, on eSpeak NG, VITS and Bark."""

import base64
import concurrent.futures
import io
import random
import time
from difflib import SequenceMatcher
from typing import Any

import av
import httpx
import numpy as np
import orjson
import pytest

from tests.audio_files import seconds
from tests.contract.conftest import (
    BARK_MODEL,
    MESSAGES,
    MODEL,
    SPEECH_MODEL,
    TRANSCRIPTION_MODEL,
    VITS_MODEL,
)
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
VOICES = {SPEECH_MODEL: ("alloy", "fable"), VITS_MODEL: ("0", "2"), BARK_MODEL: ("v2/en_speaker_0", "v2/en_speaker_1")}
LENGTHS = {SPEECH_MODEL: (3, 10), VITS_MODEL: (3, 10), BARK_MODEL: (0.8, 1.2)}  # of TEXT, in seconds
WORDS = (
    "red blue green yellow house garden window river mountain morning coffee doctor music paper winter summer children"
)
FRAME_S = 0.09  # of silence that mp3 and aac may begin and end with, which counts where the audio is short
SEEDED = {VITS_MODEL, BARK_MODEL}  # which draw random numbers, so that a seed has an effect


@pytest.fixture(params=VOICES)
def voice_model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def body_of(model: str = SPEECH_MODEL, **changes: Any) -> dict[str, Any]:
    return {"model": model, "input": TEXT, "voice": VOICES.get(model, ("alloy",))[0], "seed": 1} | changes


def synthesize(http: httpx.Client, kind: str, body: dict[str, Any]) -> bytes:
    response = http.post(SPEECH, json=body | {"response_format": kind})
    assert response.status_code == 200, response.text
    return response.content


@pytest.fixture(scope="module")
def lengths(http: httpx.Client) -> dict[str, float]:
    """How long each model takes for the text, in seconds."""
    return {model: seconds("pcm", synthesize(http, "pcm", body_of(model))) for model in VOICES}


class TestEveryEngine:
    @pytest.mark.parametrize("kind", TYPES)
    def test_a_text_becomes_audio_of_every_format(
        self, client: Any, lengths: dict[str, float], voice_model: str, kind: str
    ) -> None:
        body = body_of(voice_model, response_format=kind)
        body["extra_body"] = {"seed": body.pop("seed")}
        with client.audio.speech.with_streaming_response.create(**body) as response:
            assert response.headers["content-type"] == TYPES[kind]
            assert response.headers["x-usage-characters"] == str(len(TEXT))
            data = b"".join(response.iter_bytes())
        shortest, longest = LENGTHS[voice_model]
        assert shortest < lengths[voice_model] < longest
        assert seconds(kind, data) == pytest.approx(lengths[voice_model], rel=0.05, abs=FRAME_S)

    def test_the_usual_format_is_mp3_and_the_usual_voice_the_first(self, http: httpx.Client, voice_model: str) -> None:
        response = http.post(SPEECH, json={"model": voice_model, "input": "Hello."})
        assert response.headers["content-type"] == "audio/mpeg"
        usual, first, other = (
            synthesize(http, "pcm", body_of(voice_model, input="Hello.", voice=voice))
            for voice in (None, *VOICES[voice_model])
        )
        assert len(usual) == pytest.approx(len(first), rel=0.02)
        assert other != first

    def test_the_same_seed_is_the_same_audio(self, http: httpx.Client, voice_model: str) -> None:
        response = http.post(SPEECH, json=body_of(voice_model, input="Hello.", response_format="pcm"))
        reported = response.headers.get("x-param-adjustments", "")
        if voice_model in SEEDED:
            assert reported == ""
            again, other = (synthesize(http, "pcm", body_of(voice_model, input="Hello.", seed=seed)) for seed in (1, 2))
            assert again == response.content != other
        else:
            assert reported == 'seed;action=drop;reason="nothing in this engine is random"'

    @pytest.mark.parametrize("speed", [0.5, 2.0])
    def test_speed(self, http: httpx.Client, lengths: dict[str, float], voice_model: str, speed: float) -> None:
        data = synthesize(http, "wav", body_of(voice_model, speed=speed))
        assert seconds("wav", data) == pytest.approx(lengths[voice_model] / speed, rel=0.05)

    def test_events_carry_the_same_audio(self, http: httpx.Client, lengths: dict[str, float], voice_model: str) -> None:
        response = http.post(SPEECH, json=body_of(voice_model, response_format="pcm", stream_format="sse"))
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["x-usage-characters"] == str(len(TEXT))
        events = [orjson.loads(event.partition("data: ")[2]) for event in response.text.strip().split("\n\n")]
        *deltas, done = events
        assert {event["type"] for event in deltas} == {"speech.audio.delta"}
        audio = b"".join(base64.b64decode(event["audio"]) for event in deltas)
        assert seconds("pcm", audio) == pytest.approx(lengths[voice_model], rel=0.02)
        usage = done["usage"]
        assert done["type"] == "speech.audio.done"
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > usage["input_tokens"] > 0

    def test_the_first_audio_leaves_before_the_last_is_made(self, http: httpx.Client, voice_model: str) -> None:
        """Bytes come in many pieces, of which the first has no more than a sentence."""
        body = body_of(voice_model, input="Hello there. " * 6, response_format="pcm")
        with http.stream("POST", SPEECH, json=body) as response:
            pieces = list(response.iter_raw())
        assert len(pieces) > 1
        assert len(pieces[0]) < sum(map(len, pieces)) / 2

    @pytest.mark.parametrize("text", ["...", "?!"])
    def test_a_text_without_words_is_a_400(self, http: httpx.Client, voice_model: str, text: str) -> None:
        response = http.post(SPEECH, json=body_of(voice_model, input=text))
        assert_error(response, 400, "invalid_request_error", "invalid_value", "input")

    def test_an_unknown_voice_is_a_400_that_names_the_known_ones(self, http: httpx.Client, voice_model: str) -> None:
        voices = http.get(f"/v1/models/{voice_model}").json()["portico"]["voices"]
        assert set(VOICES[voice_model]) <= set(voices)
        for name in ("nobody", "../../etc/passwd", "repo_or_path", "0.npz"):
            response = http.post(SPEECH, json=body_of(voice_model, voice=name))
            assert_error(response, 400, "invalid_request_error", "invalid_value", "voice")
            assert all(voice in response.json()["error"]["message"] for voice in voices)

    def test_two_at_once_get_their_own_audio(
        self, http: httpx.Client, lengths: dict[str, float], voice_model: str
    ) -> None:
        short = seconds("pcm", synthesize(http, "pcm", body_of(voice_model, input="Hello.")))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            texts = [TEXT, "Hello.", TEXT, "Hello."]
            audios = list(pool.map(lambda text: synthesize(http, "pcm", body_of(voice_model, input=text)), texts))
        assert [seconds("pcm", audio) for audio in audios] == pytest.approx([lengths[voice_model], short] * 2, rel=0.03)

    def test_a_client_that_leaves_makes_room_for_the_next(self, http: httpx.Client, voice_model: str) -> None:
        longest = http.get(f"/v1/models/{voice_model}").json()["portico"]["limits"]["max_characters"]
        text = ("Hello there. " * longest)[:longest]
        with http.stream("POST", SPEECH, json=body_of(voice_model, input=text, response_format="pcm")) as response:
            next(response.iter_raw())
        start = time.monotonic()
        synthesize(http, "pcm", body_of(voice_model, input="Hello."))
        left = time.monotonic() - start
        assert left < 15, "the sentences that nobody waits for are still synthesized"


def test_what_was_changed_is_reported(http: httpx.Client) -> None:
    response = http.post(SPEECH, json=body_of(input="Hi.", seed=None, speed=9, instructions="Whisper.", tone="warm"))
    reported = response.headers["x-param-adjustments"]
    assert reported.startswith(
        'speed;action=clamp;from=9;to=4.0, instructions;action=drop;reason="this engine speaks by'
    )
    assert reported.endswith('tone;action=drop;reason="unknown parameter"')


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"input": ""}, 400, "invalid_value", "input"),
        ({"input": " \n "}, 400, "invalid_value", "input"),
        ({"input": None}, 400, "missing_required_parameter", "input"),
        ({"input": ["hi"]}, 400, "invalid_type", "input"),
        ({"input": "a" * 4097}, 422, "context_length_exceeded", "input"),
        ({"model": VITS_MODEL, "voice": "0", "input": "a" * 501}, 422, "context_length_exceeded", "input"),
        ({"voice": "nobody"}, 400, "invalid_value", "voice"),
        ({"voice": 7}, 400, "invalid_type", "voice"),
        ({"response_format": "ogg"}, 400, "invalid_value", "response_format"),
        ({"stream_format": "chunks"}, 400, "invalid_value", "stream_format"),
        ({"speed": "fast"}, 400, "invalid_type", "speed"),
        ({"model": MODEL}, 400, "unsupported_capability", "input"),
    ],
)
def test_what_cannot_be_synthesized(http: httpx.Client, changes: Any, status: int, code: str, param: str) -> None:
    assert_error(
        http.post(SPEECH, json=body_of(**{"seed": None} | changes)), status, "invalid_request_error", code, param
    )


def test_strict_params_refuses_what_would_be_changed(http: httpx.Client) -> None:
    response = http.post(SPEECH, json=body_of(seed=None, speed=9, strict_params=True))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "speed"


def test_a_voice_model_does_not_chat(http: httpx.Client) -> None:
    response = http.post("/v1/chat/completions", json={"model": SPEECH_MODEL, "messages": MESSAGES})
    assert_error(response, 400, "invalid_request_error", "unsupported_capability", "messages")


class TestRoundTrip:
    """From text to audio and back."""

    WORDS_EACH = 6
    RATE = 16_000

    def test_speech_can_be_transcribed(self, client: Any, lengths: dict[str, float]) -> None:
        """The transcription model has random weights: what can be compared is the duration."""
        audio = client.audio.speech.create(
            model=SPEECH_MODEL, input=TEXT, voice="alloy", response_format="flac"
        ).content
        found = client.audio.transcriptions.create(
            model=TRANSCRIPTION_MODEL, file=("speech.flac", audio), response_format="verbose_json", language="en"
        )
        assert float(found.duration) == pytest.approx(lengths[SPEECH_MODEL], rel=0.05)

    def test_a_recogniser_understands_the_embedded_voice(self, http: httpx.Client) -> None:
        """PocketSphinx knows which seventeen words may come, but not which do, nor how many. Backwards it is lost."""
        from pocketsphinx import Decoder

        recogniser = Decoder(samprate=self.RATE, loglevel="FATAL")
        vocabulary = WORDS.split()
        words = "|".join(vocabulary)
        recogniser.add_jsgf_string("words", f"#JSGF V1.0; grammar words; public <words> = ({words})+;")
        recogniser.activate_search("words")
        source = random.Random(1)  # noqa: S311 - no secret
        texts = [source.sample(vocabulary, self.WORDS_EACH) for _ in range(5)]
        right = {True: 0, False: 0}
        for words_sent in texts:
            audio = self._at_16_khz(
                synthesize(http, "mp3", body_of(input=", ".join(words_sent) + ".", voice="coral", seed=None))
            )
            for forwards in right:
                recognised = self._recognised(recogniser, audio if forwards else audio[::-1])
                matching = SequenceMatcher(None, words_sent, recognised, autojunk=False).get_matching_blocks()
                right[forwards] += sum(block.size for block in matching)
        count = len(texts) * self.WORDS_EACH
        assert right[True] / count > 0.8
        assert right[False] / count < 0.5

    def _at_16_khz(self, data: bytes) -> Any:
        with av.open(io.BytesIO(data)) as container:
            resampler = av.AudioResampler("s16", "mono", self.RATE)
            frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray()[0] for frame in frames])

    def _recognised(self, recogniser: Any, samples: Any) -> list[str]:
        recogniser.start_utt()
        recogniser.process_raw(samples.tobytes(), full_utt=True)
        recogniser.end_utt()
        found = recogniser.hyp()
        return found.hypstr.split() if found else []
