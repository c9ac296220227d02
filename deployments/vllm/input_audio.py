"""Audio of chat requests, decoded before vLLM reads it, as a recording to transcribe is: bounded, in its own process.

vLLM gets a WAV of ours in its place, at the rate that models which take audio work at.
"""

import asyncio
import io
import os
import wave
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pybase64

from contract.errors import ApiError
from deployments.audio.recording import SAMPLE_RATE, DecodingLimits, Recording

MAX_SECONDS = float(os.environ.get("VLLM_MAX_AUDIO_DECODE_DURATION_S", "600"))  # of all audio of a request; vLLM's name
CPU_SECONDS = 30
MEMORY_BYTES = 256 * 1024 * 1024
AT_ONCE = asyncio.Semaphore(4)  # requests


async def with_decoded_audio(body: bytes) -> bytes:
    """`body` of a chat request with its audio decoded. Raises ApiError `invalid_audio`."""
    if b'"input_audio"' not in body:
        return body
    async with AT_ONCE:
        return await asyncio.to_thread(_with_decoded_audio, body)


def _with_decoded_audio(body: bytes) -> bytes:
    request = orjson.loads(body)
    left = MAX_SECONDS
    for place, audio in _audio(request["messages"]):
        recording = _decoded(pybase64.b64decode(audio["data"]), left, place)
        left -= recording.seconds
        audio |= {"data": pybase64.b64encode(_wav(recording)).decode(), "format": "wav"}
    return orjson.dumps(request)


def _audio(messages: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each audio of checked messages, and its place."""
    for number, message in enumerate(messages):
        content = message.get("content")
        for index, part in enumerate(content if isinstance(content, list) else []):
            if part["type"] == "input_audio":
                yield f"messages.{number}.content.{index}.input_audio.data", part["input_audio"]


def _decoded(content: bytes, max_seconds: float, place: str) -> Recording:
    recording = Recording(content, DecodingLimits(max_seconds, CPU_SECONDS, MEMORY_BYTES))
    try:
        for _ in recording.decode():
            pass
    except ApiError as error:
        raise ApiError(error.code, error.message, param=place) from None
    return recording


def _wav(recording: Recording) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(SAMPLE_RATE)
        written.writeframes((np.clip(recording.samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()
