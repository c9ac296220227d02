"""Audio of chat requests, decoded before vLLM reads it, as a recording to transcribe is: bounded, in its own process.

vLLM gets a WAV of ours in its place, at the rate that models which take audio work at.
"""

import asyncio
import io
import os
import threading
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
import pybase64

from contract.errors import ApiError
from deployments.audio.recording import SAMPLE_RATE, DecodingLimits, Recording

MAX_SECONDS = float(os.environ.get("VLLM_MAX_AUDIO_DECODE_DURATION_S", "600"))  # of all audio of a request; vLLM's name
CPU_SECONDS = 30  # for all audio of a request
MEMORY_BYTES = 256 * 1024 * 1024
AT_ONCE = 4  # requests

_threads = ThreadPoolExecutor(AT_ONCE, "input-audio")
_free = asyncio.Semaphore(AT_ONCE)


async def with_decoded_audio(body: bytes) -> bytes:
    """`body` of a chat request with its audio decoded. Raises ApiError `invalid_audio`.

    Where the client leaves, the thread ends soon, and only then another request gets its place.
    """
    if b'"input_audio"' not in body:
        return body
    await _free.acquire()
    client_left = threading.Event()
    work = _threads.submit(_with_decoded_audio, body, client_left)
    loop = asyncio.get_running_loop()
    work.add_done_callback(lambda _: loop.call_soon_threadsafe(_free.release))
    try:
        return await asyncio.wrap_future(work)
    finally:
        client_left.set()


def _with_decoded_audio(body: bytes, client_left: threading.Event) -> bytes:
    request = orjson.loads(body)
    audios = list(_audio(request.get("messages", ())))  # a name in another request may look like a part of audio
    cpu_seconds = max(1, CPU_SECONDS // max(1, len(audios)))
    left = MAX_SECONDS
    for place, audio in audios:
        if client_left.is_set():
            break
        limits = DecodingLimits(left, cpu_seconds, MEMORY_BYTES)
        recording = _decoded(pybase64.b64decode(audio["data"]), limits, place, client_left)
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


def _decoded(content: bytes, limits: DecodingLimits, place: str, client_left: threading.Event) -> Recording:
    recording = Recording(content, limits)
    try:
        for _ in recording.decode():
            if client_left.is_set():
                break
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
