"""POST /v1/audio/speech on Piper and on Kokoro: the replica around them."""

from contextlib import aclosing
from typing import Any

import orjson
import pytest

from contract.project import in_project
from contract.protocol import SPEECH_ROUTE, RequestHead, ResponseTail
from deployments.replica import Replica
from deployments.speech.synthesizer import VoiceError
from tests.audio_files import seconds
from tests.engines.replicas import items_of, started

VOICES = {
    "piper": {"alloy": "en_US-solo-low", "nova": "de_DE-duo-low:bert"},
    "kokoro": {"alloy": "af_ada", "nova": "bm_brian"},
}
TEXT = "Hello there, my friend. How are you?"


@pytest.fixture(params=VOICES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def replica_of(engine: str, **options: Any) -> Replica:
    kwargs = {"voices": VOICES[engine], "device": "cpu"} | options
    return await started(engine, "speech", in_project(f"./local_models/pocket-{engine}"), kwargs)


@pytest.fixture
async def replica(engine: str) -> Replica:
    return await replica_of(engine)


@pytest.mark.parametrize(("response_format", "content_type"), [("mp3", "audio/mpeg"), ("wav", "audio/wav")])
async def test_a_text_becomes_a_file(replica: Replica, response_format: str, content_type: str) -> None:
    body = {"input": TEXT, "voice": "nova", "response_format": response_format}
    head, *pieces, tail = await items_of(replica, SPEECH_ROUTE, body)
    assert (head.status, head.content_type) == (200, content_type)
    assert 0.5 < seconds(response_format, b"".join(pieces)) < 10
    assert tail.usage["input_tokens"] == 9
    assert tail.usage["output_tokens"] > 0


async def test_speed_changes_how_long_it_takes_to_say(replica: Replica) -> None:
    lengths = []
    for speed in (1.0, 2.0):
        body = {"input": TEXT, "response_format": "wav", "speed": speed}
        _, *pieces, _ = await items_of(replica, SPEECH_ROUTE, body)
        lengths.append(seconds("wav", b"".join(pieces)))
    assert lengths[0] == pytest.approx(2 * lengths[1], rel=0.05)


async def test_what_it_can_do_and_cannot(replica: Replica, engine: str) -> None:
    profile = await replica.describe()
    assert list(profile["voices"]) == list(VOICES[engine])
    assert set(profile["lacks"]) == {"instructions", "language", "seed"}
    assert "when it loads it" in profile["lacks"]["seed"]


async def test_a_client_that_leaves_stops_it_after_the_sentence(replica: Replica) -> None:
    worker = replica.engine._worker  # type: ignore[attr-defined]
    head = RequestHead(SPEECH_ROUTE, "4f0c9e4c-0000-4000-8000-000000000000", include_usage=False, echo={})
    body = orjson.dumps({"input": "One. " * 200, "response_format": "pcm"})
    before = worker.steps
    async with aclosing(replica.handle(head, body)) as items:
        async for item in items:
            if isinstance(item, bytes):
                break
    _, *pieces, tail = await items_of(replica, SPEECH_ROUTE, {"input": "Two.", "response_format": "pcm"})
    assert isinstance(tail, ResponseTail)
    assert pieces
    assert worker.steps - before < 50


@pytest.mark.parametrize(
    ("engine", "options", "error"),
    [
        ("piper", {"voices": {"alloy": "../../etc/passwd"}}, VoiceError),
        ("kokoro", {"voices": {"alloy": "jf_dai"}}, VoiceError),
    ],
)
async def test_a_wrong_voice_is_refused_at_the_start(engine: str, options: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="voices: "):
        await replica_of(engine, **options)
