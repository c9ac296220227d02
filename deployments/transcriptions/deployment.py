"""The transcriptions deployment: a Whisper model in a Serve replica. Recordings take turns, a step each."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

import orjson

from contract.errors import ApiError
from contract.protocol import EVENT_STREAM, RequestHead, ResponseHead, ResponseItem, ResponseTail, split
from deployments.health import Health
from deployments.transcriptions import formats
from deployments.transcriptions.audio_decoding import Recording
from deployments.transcriptions.transcriber import Asked, Found, Transcriber
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

    def submit(self, step: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        future = super().submit(step, *args, **kwargs)
        self.under_way.add(future)
        future.add_done_callback(self.under_way.discard)
        return future


class TranscriptionsReplica:
    """One replica of a Whisper model. It is ready once the model has been through a second of noise."""

    def __init__(self, model_id: str, source: str, engine_kwargs: dict[str, Any]) -> None:
        self._model_id = model_id
        self._transcriber = Transcriber(source, engine_kwargs)
        options = self._transcriber.options
        # Steps wait here in the order they came, so that recordings take turns whatever their length.
        self._workers = Workers(options.num_workers)
        self._room = asyncio.Semaphore(options.max_recordings)
        self._health = Health(lambda: asyncio.to_thread(self._transcriber.try_out))
        self._transcriber.try_out()

    async def handle(self, _: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        """Answer one request. Closing this generator ends the work with the step that is under way."""
        fields, content = split(body)
        asked = orjson.loads(fields)
        recording = Recording(content, self._transcriber.options.max_audio_seconds)
        try:
            async with aclosing(self._found(recording, asked)) as found:
                if asked.get("stream"):
                    async with aclosing(_streamed(found, recording)) as items:
                        async for item in items:
                            yield item
                else:
                    yield await _whole(found, recording, asked)
        except ApiError as error:  # before the first segment: a recording is decoded before it is transcribed
            yield ResponseHead(error.status, error=error.to_wire())
        except Exception:
            self._health.suspect()
            raise

    async def check_health(self) -> None:
        """Raises EngineBrokenError."""
        self._health.check()

    async def describe(self) -> dict[str, Any]:
        """What the model can do: a `Profile` as plain data."""
        return self._transcriber.profile().to_wire()

    def unfinished_requests(self) -> int:
        """Recordings of which a step is under way or waits for a worker."""
        return len(self._workers.under_way)

    async def _found(self, recording: Recording, asked: dict[str, Any]) -> AsyncGenerator[Found]:
        steps = self._transcriber.transcribe(recording, _asked(asked))
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
    while (result := await loop.run_in_executor(workers, next, steps, END)) is not END:
        yield result  # type: ignore[misc]


async def _whole(found: AsyncGenerator[Found], recording: Recording, asked: dict[str, Any]) -> ResponseHead:
    language, segments = asked.get("language", "en"), []
    async for one in found:
        language = one.language
        segments.append(one.segment)
    transcript = Transcript(language, recording.seconds, segments)
    granularities = asked.get("timestamp_granularities", [])
    content_type, body = formats.body(transcript, asked.get("response_format", "json"), granularities)
    return ResponseHead(200, content_type, body, formats.usage(recording.seconds))


async def _streamed(found: AsyncGenerator[Found], recording: Recording) -> AsyncGenerator[ResponseItem]:
    """The head leaves with the first event, so that what is wrong with a recording still gets its status."""
    text = ""
    async for one in found:
        if not text:
            yield ResponseHead(200, EVENT_STREAM)
        added, event = formats.delta(one.segment, first=not text)
        text += added
        yield event
    if not text:
        yield ResponseHead(200, EVENT_STREAM)
    yield formats.done(text, recording.seconds)
    yield ResponseTail(formats.usage(recording.seconds))


def _asked(asked: dict[str, Any]) -> Asked:
    form = asked.get("response_format", "json")
    return Asked(
        language=asked.get("language"),
        prompt=asked.get("prompt", ""),
        hotwords=asked.get("hotwords", ""),
        temperature=asked.get("temperature", 0.0),
        vad_filter=asked.get("vad_filter"),
        words="word" in asked.get("timestamp_granularities", []),
        segments=form in TIMED or bool(asked.get("stream")),
    )
