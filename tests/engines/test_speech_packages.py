"""XTTS and Qwen3-TTS, really loaded with the packages of their own that `make xtts qwen-tts` installs."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from contract.project import PROJECT_FOLDER
from tests.audio_files import decoded, seconds

MODELS = PROJECT_FOLDER / "local_models"
STAND_IN = PROJECT_FOLDER / "tests" / "cpu_torchaudio"  # for torchaudio, which has no build for CPUs at hand
TEXT = "Hello there. Who?"


class Engine(NamedTuple):
    name: str
    packages: Path
    source: Path
    options: dict[str, Any]
    voices: list[str]
    language: str


ENGINES = [
    Engine(
        "xtts",
        PROJECT_FOLDER / ".venv" / "xtts",
        MODELS / "pocket-xtts",
        {"accept_license": "cpml", "chunk_tokens": 4, "device": "cpu"},
        ["Ada", "Brian"],
        "de",
    ),
    Engine(
        "qwen3-tts",
        PROJECT_FOLDER / ".venv" / "qwen-tts",
        MODELS / "pocket-qwen-tts",
        {"max_new_tokens": 6, "device": "cpu"},
        ["ryan", "vivian"],
        "german",
    ),
]
REQUESTS: dict[str, dict[str, Any]] = {
    **{kind: {"response_format": kind, "seed": 1} for kind in ("mp3", "opus", "aac", "flac", "wav", "pcm")},
    "again": {"response_format": "pcm", "seed": 1},
    "other seed": {"response_format": "pcm", "seed": 2},
    "other voice": {"response_format": "pcm", "seed": 1, "voice": 1},
    "other language": {"response_format": "pcm", "seed": 1, "language": True},
    "instructed": {"response_format": "pcm", "seed": 1, "instructions": "Whisper."},
    "faster": {"response_format": "pcm", "seed": 1, "speed": 2.0},
    "events": {"response_format": "pcm", "seed": 1, "stream_format": "sse"},
    "silent": {"input": "... !?"},
    "numbers": {"response_format": "pcm", "seed": 1, "input": "12345678901234567890 " * 3},
}


def run(engine: Engine, requests: list[dict[str, Any]]) -> dict[str, Any]:
    parameters = {
        "engine": engine.name,
        "source": str(engine.source),
        "engine_kwargs": engine.options,
        "requests": requests,
        "wrong": {"voices": {"alloy": "nobody"}},
    }
    result = subprocess.run(
        [sys.executable, "-m", "tests.engines.speech_answers"],
        input=json.dumps(parameters),
        env=os.environ | {"PYTHONPATH": f"{engine.packages}:{STAND_IN}", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    reported: dict[str, Any] = json.loads(result.stdout.rstrip().rpartition("\n")[2])
    return reported


@pytest.fixture(scope="module", params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.param
    if not (engine.packages.exists() and engine.source.exists()):
        pytest.skip(f"{engine.name}'s packages or its model are not there: `make test` makes them")
    return engine


@pytest.fixture(scope="module")
def reported(engine: Engine) -> dict[str, Any]:
    def of(request: dict[str, Any]) -> dict[str, Any]:
        parameters = {"input": TEXT, "voice": engine.voices[0]} | request
        if parameters["voice"] == 1:
            parameters["voice"] = engine.voices[1]
        if parameters.get("language"):
            parameters["language"] = engine.language
        return parameters

    found = run(engine, [of(request) for request in REQUESTS.values()])
    assert "refused" not in found, found["refused"]
    return found | {"answers": dict(zip(REQUESTS, found["answers"], strict=True))}


@pytest.fixture(scope="module")
def answers(reported: dict[str, Any]) -> dict[str, Any]:
    return dict(reported["answers"])


def audio(answer: dict[str, Any]) -> bytes:
    assert (answer["status"], answer["error"]) == (200, None)
    return b"".join(base64.b64decode(piece) for piece in answer["pieces"])


def test_every_format_holds_the_whole_audio(answers: dict[str, Any]) -> None:
    length = seconds("pcm", audio(answers["pcm"]))
    assert length > 0.5
    for kind in ("mp3", "opus", "aac", "flac", "wav"):
        assert seconds(kind, audio(answers[kind])) == pytest.approx(length, rel=0.05, abs=0.09)
    samples, _ = decoded("wav", audio(answers["wav"]))
    assert np.abs(samples).max() > 0.05


def test_a_seed_a_voice_and_a_language_decide_the_audio(answers: dict[str, Any]) -> None:
    assert audio(answers["again"]) == audio(answers["pcm"])
    for other in ("other seed", "other voice", "other language"):
        assert audio(answers[other]) != audio(answers["pcm"]), other


def test_speed_is_the_encoders(answers: dict[str, Any]) -> None:
    assert seconds("pcm", audio(answers["faster"])) == pytest.approx(
        seconds("pcm", audio(answers["pcm"])) / 2, rel=0.05
    )


def test_events_end_with_the_usage(answers: dict[str, Any]) -> None:
    events = audio(answers["events"]).decode()
    assert answers["events"]["content_type"].startswith("text/event-stream")
    assert events.count("event: speech.audio.done") == 1
    assert answers["events"]["usage"]["output_tokens"] > 0


def test_what_holds_no_words_is_a_400(answers: dict[str, Any]) -> None:
    assert answers["silent"]["status"] == 400
    assert answers["silent"]["error"]["param"] == "input"


def test_numbers_that_are_long_when_spelled_out_are_said(answers: dict[str, Any]) -> None:
    assert seconds("pcm", audio(answers["numbers"])) > 0.3


def test_the_profile_lists_voices_and_languages(reported: dict[str, Any], engine: Engine) -> None:
    assert reported["profile"]["voices"] == engine.voices
    assert engine.language in reported["profile"]["languages"]


def test_only_qwen_takes_instructions(reported: dict[str, Any], engine: Engine, answers: dict[str, Any]) -> None:
    if engine.name == "qwen3-tts":
        assert "instructions" not in reported["profile"]["lacks"]
        assert audio(answers["instructed"]) != audio(answers["pcm"])
    else:
        assert "recording" in reported["profile"]["lacks"]["instructions"]


def test_a_sentence_that_nobody_waits_for_is_cancelled(reported: dict[str, Any]) -> None:
    assert reported["seconds_to_cancel"] < 30


def test_a_sentence_leaves_in_as_many_pieces_as_it_is_made_in(answers: dict[str, Any], engine: Engine) -> None:
    """XTTS speaks as it goes; the package of Qwen3-TTS makes a sentence at once. The text has two."""
    pieces = len(answers["pcm"]["pieces"])
    assert pieces > 4 if engine.name == "xtts" else pieces == 2


def test_a_voice_that_is_none_is_refused_at_the_start(reported: dict[str, Any]) -> None:
    assert "VoiceError: voices: alloy: " in reported["wrong"]


def test_without_its_packages_the_engine_says_what_to_do(engine: Engine) -> None:
    reported = run(engine._replace(packages=STAND_IN), [])["refused"]
    assert "packages" in reported
    assert "docs/speech.md" in reported
