"""The audio of a chat before vLLM reads it: decoded as a recording is, or refused at its place."""

import asyncio
import base64
import io
import threading
from typing import Any

import av
import orjson
import pytest

from contract.errors import ApiError
from contract.protocol import CHAT_ROUTE, RequestHead
from deployments.vllm import input_audio
from deployments.vllm.engine import VllmChatEngine
from deployments.vllm.input_audio import with_decoded_audio
from tests.hostile_recordings import flac_with_comments, wav
from tests.recordings import TEXT, encoded, voice

TEXT_ONLY = orjson.dumps({"messages": [{"role": "user", "content": "hi"}], "model": "alpha"})


def body_of(*audio: tuple[str, bytes]) -> bytes:
    parts = [
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(content).decode(), "format": form}}
        for form, content in audio
    ]
    text = {"type": "text", "text": "What is this?"}
    messages = [{"role": "system", "content": "hi"}, {"role": "user", "content": [text, *parts]}]
    return orjson.dumps({"messages": messages, "model": "alpha", "seed": 7})


async def fault(*audio: tuple[str, bytes]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await with_decoded_audio(body_of(*audio))
    assert (caught.value.status, caught.value.code) == (422, "invalid_audio")
    return caught.value


async def test_a_chat_without_audio_is_not_touched() -> None:
    assert await with_decoded_audio(TEXT_ONLY) is TEXT_ONLY
    quoted = orjson.dumps({"messages": [{"role": "user", "content": 'say "input_audio"'}]})
    assert orjson.loads(await with_decoded_audio(quoted)) == orjson.loads(quoted)


@pytest.mark.parametrize("form", ["wav", "mp3", "flac", "ogg"])
async def test_vllm_gets_a_wav_of_ours(form: str) -> None:
    given = body_of((form, encoded(voice(2), "opus" if form == "ogg" else form)))
    request: dict[str, Any] = orjson.loads(await with_decoded_audio(given))
    audio = request["messages"][1]["content"][1]["input_audio"]
    assert audio["format"] == "wav"
    with av.open(io.BytesIO(base64.b64decode(audio["data"]))) as container:
        (stream,) = container.streams
        assert (container.format.name, stream.rate, stream.channels) == ("wav", 16_000, 1)
        assert container.duration / av.time_base == pytest.approx(2, abs=0.1)
    audio |= orjson.loads(given)["messages"][1]["content"][1]["input_audio"]
    assert request == orjson.loads(given)


async def test_a_client_that_leaves_keeps_its_place_until_its_thread_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that clients which come and go do not fill the replica's memory with what is decoded for nobody."""
    running, end, most = 0, threading.Event(), 0

    def decoded(body: bytes, _: threading.Event) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        end.wait(10)
        running -= 1
        return body

    monkeypatch.setattr(input_audio, "_with_decoded_audio", decoded)
    body = body_of(("wav", b"x"))
    gone = [asyncio.create_task(with_decoded_audio(body)) for _ in range(input_audio.AT_ONCE)]
    await asyncio.sleep(0.1)
    for one in gone:
        one.cancel()
    await asyncio.wait(gone)
    waiting = asyncio.create_task(with_decoded_audio(body))
    await asyncio.sleep(0.1)
    assert (running, most) == (input_audio.AT_ONCE, input_audio.AT_ONCE)
    end.set()
    assert await waiting == body
    assert most == input_audio.AT_ONCE


async def test_all_audio_of_a_request_shares_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_audio, "MAX_SECONDS", 5.0)
    two_seconds = ("flac", encoded(voice(2), "flac"))
    await with_decoded_audio(body_of(two_seconds, two_seconds))
    error = await fault(two_seconds, two_seconds, two_seconds)
    assert error.param == "messages.1.content.3.input_audio.data"


@pytest.mark.parametrize("content", [b"", TEXT, wav(rate=30_000_001), wav(channels=64)])
async def test_what_is_no_audio_is_refused_at_its_place(content: bytes) -> None:
    assert (await fault(("wav", content))).param == "messages.1.content.1.input_audio.data"


async def test_tags_that_would_take_hours_end_with_the_cpu_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_audio, "CPU_SECONDS", 2)
    assert "more than 2 s of CPU time" in (await fault(("flac", flac_with_comments(200_000)))).message


async def test_the_engine_refuses_it_before_vllm_is_asked() -> None:
    engine = VllmChatEngine("alpha", None)  # type: ignore[arg-type]
    with pytest.raises(ApiError, match="no recording"):
        await anext(engine.answer(RequestHead(CHAT_ROUTE, "", False, {}), body_of(("wav", TEXT))))
