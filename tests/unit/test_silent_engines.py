"""An engine that falls silent in its answer: every route ends it in its own form, and nothing stays taken."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import pytest

from app.config.service import parse_config
from app.gateway.application import Gateway
from app.gateway.streaming import StreamBrokenError
from app.keys import LOCAL_KEY, hash_key, public_id
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, ResponseHead
from tests.unit.conftest import StandInAnswer, chat, client_of, config_args
from tests.unit.test_gateway_images import GENERATOR
from tests.unit.test_gateway_speech import VOICE

LISTENER = Profile("faster-whisper", frozenset({"transcriptions"}), limits={"audio_seconds": 60})
CHAT, RESPONSES, IMAGES = "/v1/chat/completions", "/v1/responses", "/v1/images/generations"
SPEECH, TRANSCRIPTIONS = "/v1/audio/speech", "/v1/audio/transcriptions"
FIRST = b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1"}}\n\n'
SPEECH_REQUEST = {"model": "alpha", "input": "Hello.", "voice": "ada"}
LIMITS = {"ping_interval_s": 0.02, "stream_idle_timeout_s": 0.15}


class SilentAnswer(StandInAnswer):
    """Begins, and then holds its connection and sends nothing."""

    async def pieces(self) -> AsyncGenerator[bytes]:
        yield FIRST
        await asyncio.Event().wait()


class SilentRelay:
    """A model with an engine that falls silent."""

    def __init__(self) -> None:
        self.content_type = EVENT_STREAM
        self.answers: list[SilentAnswer] = []

    async def send(self, *_: Any) -> SilentAnswer:
        self.answers.append(SilentAnswer([ResponseHead(200, self.content_type)]))
        return self.answers[-1]


@pytest.fixture
def relay() -> SilentRelay:
    return SilentRelay()


@pytest.fixture
async def client(make_gateway: Callable[..., Gateway]) -> AsyncGenerator[httpx.AsyncClient]:
    """A client with a key that may have one request under way."""
    keys = [{"id": public_id(LOCAL_KEY), "sha256": hash_key(LOCAL_KEY), "budget": {"concurrent_requests": 1}}]
    async with client_of(make_gateway(parse_config(config_args(keys=keys, limits=LIMITS)))) as client:
        yield client


ROUTES = [
    pytest.param(None, CHAT, {"json": chat(stream=True)}, None, id="chat"),
    pytest.param(None, RESPONSES, {"json": {"model": "alpha", "input": "hi", "stream": True}}, "response.failed",
                 id="responses"),
    pytest.param(GENERATOR, IMAGES, {"json": {"model": "alpha", "prompt": "a boat", "stream": True}}, "error",
                 id="images"),
    pytest.param(VOICE, SPEECH, {"json": SPEECH_REQUEST | {"stream_format": "sse"}}, "error", id="speech"),
    pytest.param(LISTENER, TRANSCRIPTIONS, {"data": {"model": "alpha", "stream": "true"}, "files": {"file": b"RIFF"}},
                 "error", id="transcriptions"),
]  # fmt: skip


@pytest.mark.parametrize(("profile", "path", "sent", "kind"), ROUTES)
async def test_events_end_in_the_error_of_their_route(
    client: httpx.AsyncClient, registry: Any, relay: SilentRelay,
    profile: Profile | None, path: str, sent: dict[str, Any], kind: str | None,
) -> None:  # fmt: skip
    if profile:
        registry.learn("alpha", profile)
    for turn in range(2):  # the second has the place of the first
        response = await asyncio.wait_for(client.post(path, **sent), 10)
        assert response.status_code == 200, response.text
        first, *pings, last = [event for event in response.text.split("\n\n") if event]
        assert first.encode() in FIRST
        assert pings
        assert set(pings) == {": ping"}
        *named, data = last.split("\n")
        assert named == ([f"event: {kind}"] if kind else [])
        assert_timeout(json.loads(data.removeprefix("data: ")), kind)
        assert relay.answers[turn].closed


def assert_timeout(event: dict[str, Any], kind: str | None) -> None:
    if kind == "response.failed":
        assert event["sequence_number"] == 1
        assert (event["response"]["id"], event["response"]["status"]) == ("resp_1", "failed")
        error = event["response"]["error"]
        assert error["code"] == "server_error"
    else:
        error = event["error"]
        assert (error["code"], error["type"]) == ("timeout", "server_error")
    assert error["message"] == "The model sent nothing for 0.15 s. Send the request again."


async def test_audio_is_cut_off(client: httpx.AsyncClient, registry: Any, relay: SilentRelay) -> None:
    registry.learn("alpha", VOICE)
    relay.content_type = "audio/mpeg"
    for turn in range(2):
        with pytest.raises(StreamBrokenError, match="timeout"):
            await client.post(SPEECH, json=SPEECH_REQUEST)
        assert relay.answers[turn].closed
