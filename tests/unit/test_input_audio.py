"""Audio of chat before any engine sees it: how much, how large, and whether it is what it says."""

import base64
import threading
from dataclasses import replace
from typing import Any

import httpx
import pytest

from app.config.limits import InputAudio
from app.gateway import input_audio
from app.gateway.input_audio import AudioChecks
from app.keys import LOCAL_KEY
from app.parameters.parts import AudioSlot
from app.upstream.registry import Registry
from contract.errors import ApiError
from tests.recordings import PLAYLIST, encoded, voice
from tests.unit.conftest import PROFILE

BOUNDS = {"max_per_request": 3, "max_bytes": 60_000, "max_total_bytes": 100_000}
VOICE = voice(1)
WAV = encoded(VOICE, "wav")


async def check(*contents: bytes | str, form: str = "wav", **bounds: Any) -> None:
    texts = [one if isinstance(one, str) else base64.b64encode(one).decode() for one in contents]
    slots = [AudioSlot(form, text, f"parts.{index}") for index, text in enumerate(texts)]
    await AudioChecks(InputAudio.model_validate(BOUNDS | bounds)).check(slots)


async def fault(*contents: bytes | str, **more: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await check(*contents, **more)
    return caught.value


@pytest.mark.parametrize("form", ["wav", "mp3", "flac"])
async def test_audio_of_every_format_is_legal(form: str) -> None:
    await check(encoded(VOICE, form), form=form)


async def test_ogg_is_legal() -> None:
    await check(encoded(VOICE, "opus"), form="ogg")


async def test_too_many_parts() -> None:
    await check(WAV, WAV, WAV, max_total_bytes=1_000_000)
    error = await fault(WAV, WAV, WAV, WAV)
    assert (error.status, error.code, error.param) == (400, "invalid_value", "parts.3")
    assert "4 parts of audio; 3 are legal" in error.message


@pytest.mark.parametrize("size", [60_001, 3_000_000])
async def test_too_many_bytes(size: int) -> None:
    error = await fault(WAV + bytes(size - len(WAV)))
    assert (error.status, error.code, error.param) == (413, "request_too_large", "parts.0")
    assert "60000 bytes" in error.message


async def test_all_of_a_request_share_one_bound() -> None:
    await check(WAV, WAV, WAV)
    error = await fault(WAV, WAV, WAV + bytes(10_000))
    assert (error.status, error.code, error.param) == (413, "request_too_large", "parts.2")


async def test_its_length_is_looked_at_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pybase64.b64decode", None)
    assert (await fault("!" * 100_000)).code == "request_too_large"


@pytest.mark.parametrize(
    "text", ["", "!!!!", "UklG", "UklGRg=", PLAYLIST, encoded(VOICE, "flac"), b"RIFF" + bytes(100)]
)
async def test_what_is_no_audio_of_its_format(text: Any) -> None:
    error = await fault(text)
    assert (error.status, error.code, error.param) == (422, "invalid_audio", "parts.0")


async def test_the_check_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(input_audio, "_check_contents", lambda _: released.wait(60))
    error = await fault(WAV, check_timeout_s=0.1)
    released.set()
    assert (error.status, error.code) == (503, "overloaded")


async def test_the_gateway_checks_the_audio_of_a_chat(make_gateway: Any, registry: Registry, relay: Any) -> None:
    registry.learn("alpha", replace(PROFILE, capabilities=frozenset({"chat", "audio"})))
    transport = httpx.ASGITransport(make_gateway())
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}

    async def status(content: bytes) -> int:
        audio = {"data": base64.b64encode(content).decode(), "format": "wav"}
        messages = [{"role": "user", "content": [{"type": "input_audio", "input_audio": audio}]}]
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            answer = await client.post("/v1/chat/completions", json={"model": "alpha", "messages": messages})
        return answer.status_code

    assert await status(PLAYLIST) == 422
    assert relay.sent == []
    assert await status(WAV) == 200
    assert len(relay.sent) == 1
