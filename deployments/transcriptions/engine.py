"""The engine of transcriptions: a Whisper model on faster-whisper. Recordings take turns, a step each."""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any, Self, TypeVar

import orjson

from contract.options.catalog import ServedModel
from contract.options.faster_whisper import TranscriberOptions
from contract.profile import Profile
from contract.protocol import (
    EVENT_STREAM,
    TRANSLATIONS_ROUTE,
    RequestHead,
    ResponseHead,
    ResponseItem,
    ResponseTail,
    split,
)
from deployments.audio.recording import DecodingLimits, Recording
from deployments.replica import Engine
from deployments.transcriptions import formats
from deployments.transcriptions.transcriber import TRANSCRIBE, TRANSLATE, Step, Transcriber, TranscriptionRequest
from deployments.transcriptions.transcript import Transcript

# A recording that is decoded within this takes no place among those that are in memory: it is small, and soon done.
SHORT_SECONDS = 60
TIMED = ("srt", "vtt", "verbose_json")
END = object()

T = TypeVar("T")


class Workers(ThreadPoolExecutor):
    """Threads that know which steps wait for one or are under way."""

    def __init__(self, count: int) -> None:
        super().__init__(count, thread_name_prefix="transcriber")
        self.under_way: set[Future[Any]] = set()
        self.done = 0  # steps

    def submit(self, step: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        future = super().submit(step, *args, **kwargs)
        self.under_way.add(future)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: Future[Any]) -> None:
        self.done += 1
        self.under_way.discard(future)


class FasterWhisperEngine(Engine):
    """A model and its workers."""

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber
        # Steps wait here in the order they came, so that recordings take turns whatever their length.
        self._workers = Workers(transcriber.options.num_workers)
        self._room = asyncio.Semaphore(transcriber.options.max_recordings)

    @classmethod
    async def start(cls, model: ServedModel, options: TranscriberOptions) -> Self:
        return cls(await asyncio.to_thread(Transcriber, model, options))

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        """Closing it ends the work with the step that is under way."""
        fields, content = split(body)
        parameters = orjson.loads(fields)
        options = self._transcriber.options
        limits = DecodingLimits(options.max_audio_seconds, options.decoding_cpu_s, options.decoding_memory_bytes)
        recording = Recording(content, limits)
        task = TRANSLATE if request.route == TRANSLATIONS_ROUTE else TRANSCRIBE
        async with aclosing(self._steps(recording, _request(task, parameters))) as steps:
            if not parameters.get("stream"):
                yield await _whole(task, steps, recording, parameters)
                return
            yield ResponseHead(200, EVENT_STREAM)
            text = ""
            async for step in steps:
                added, event = formats.delta(step.segment, first=not text)
                text += added
                yield event
            yield formats.done(text, recording.seconds)
            yield ResponseTail(formats.usage(recording.seconds))

    def profile(self) -> Profile:
        return self._transcriber.profile()

    async def trial(self) -> None:
        await asyncio.to_thread(self._transcriber.try_out)

    def unfinished(self) -> int:
        """Recordings of which a step is under way or waits for a worker."""
        return len(self._workers.under_way)

    def steps(self) -> int:
        return self._workers.done

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def _steps(self, recording: Recording, request: TranscriptionRequest) -> AsyncGenerator[Step]:
        """Those steps that found something."""
        steps = self._transcriber.transcribe(recording, request)
        has_place = False
        async with AsyncExitStack() as place, aclosing(in_steps(self._workers, steps)) as results:
            async for result in results:
                if recording.seconds > SHORT_SECONDS and not has_place:
                    await place.enter_async_context(self._room)
                    has_place = True
                if result is not None:
                    yield result


async def in_steps(workers: ThreadPoolExecutor, steps: Iterator[T]) -> AsyncGenerator[T]:
    """What `steps` yields, each made on one of `workers`. Closed or cancelled, it asks for no further step.

    A step under way cannot be stopped; `steps` is then freed by the worker that ends it.
    """
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()  # lines of a worker then have the request's id
    while (result := await loop.run_in_executor(workers, partial(context.run, next, steps, END))) is not END:
        yield result  # type: ignore[misc]


async def _whole(
    task: str, steps: AsyncGenerator[Step], recording: Recording, parameters: dict[str, Any]
) -> ResponseHead:
    language, segments = parameters.get("language", "en"), []
    async for step in steps:
        language = step.language
        segments.append(step.segment)
    if task == TRANSLATE:
        language = "en"
    transcript = Transcript(language, recording.seconds, segments, task)
    granularities = parameters.get("timestamp_granularities", [])
    content_type, body = formats.body(transcript, parameters.get("response_format", "json"), granularities)
    return ResponseHead(200, content_type, body, formats.usage(recording.seconds))


def _request(task: str, parameters: dict[str, Any]) -> TranscriptionRequest:
    return TranscriptionRequest(
        task=task,
        language=parameters.get("language"),
        prompt=parameters.get("prompt", ""),
        hotwords=parameters.get("hotwords", ""),
        temperature=parameters.get("temperature", 0.0),
        vad_filter=parameters.get("vad_filter"),
        words="word" in parameters.get("timestamp_granularities", []),
        segments=parameters.get("response_format", "json") in TIMED or bool(parameters.get("stream")),
    )
