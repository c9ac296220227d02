"""The speech deployment: an engine that speaks sentences, and an encoder that makes a file of them as they come."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pybase64

from app.engines.speech import EspeakOptions, SpeechOptions
from app.errors import ApiError, upstream_error
from app.profile import Profile
from deployments.audio_encoding import FORMATS, AudioEncoder
from deployments.protocol import EVENT_STREAM, RequestHead, ResponseHead, ResponseItem, ResponseTail
from deployments.sentences import sentences
from deployments.speech_engine import SpeechEngine, Utterance

logger = logging.getLogger("portico.speech")

USUAL_FORMAT = "mp3"
CHARACTERS_PER_TOKEN = 4
TOKENS_PER_SECOND = 20  # of sound
SILENT = "`input` holds nothing that can be said. Send words."


class SpeechReplica:
    """One replica of a voice model. It is ready once it has said something."""

    engine_name: str

    def __init__(self, model_id: str, source: str, engine_kwargs: dict[str, Any]) -> None:
        self._model_id = model_id
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="speaker")
        self._options, self._engine = self._thread.submit(self.load, source, engine_kwargs).result()
        self._thread.submit(lambda: list(self._sound({"input": "Ready?"}, []))).result()

    def load(self, source: str, engine_kwargs: dict[str, Any]) -> tuple[SpeechOptions, SpeechEngine]:
        """The options and the engine. Called in the thread that will use it."""
        raise NotImplementedError

    async def handle(self, request: RequestHead, body: bytes) -> AsyncIterator[ResponseItem]:
        """Answer one request, as it is spoken. Closing this generator stops the work at the next piece of sound."""
        asked = orjson.loads(body)
        as_events = asked.get("stream_format") == "sse"
        started = False
        spoken: list[int] = []
        sound = self._sound(asked, spoken)
        loop = asyncio.get_running_loop()
        try:
            while (piece := await loop.run_in_executor(self._thread, next, sound, None)) is not None:
                if not piece:
                    continue
                if not started:
                    started = True
                    yield ResponseHead(200, EVENT_STREAM if as_events else _format(asked).media_type)
                yield _delta(piece) if as_events else piece
            if not started:
                yield ResponseHead(400, error=ApiError("invalid_value", SILENT, param="input").to_wire())
                return
            usage = self._usage(asked["input"], sum(spoken))
            if as_events:
                yield _event("speech.audio.done", {"usage": usage})
            yield ResponseTail(usage)
        except Exception:
            logger.exception("the engine failed request %s", request.request_id)
            wire = upstream_error().to_wire()
            yield ResponseTail(error=wire) if started else ResponseHead(502, error=wire)

    async def describe(self) -> dict[str, Any]:
        """What the model can do: a `Profile` as plain data."""
        profile = Profile(
            engine=self.engine_name,
            capabilities=frozenset({"speech"}),
            lacks=self._engine.lacks,
            limits={"max_characters": self._options.max_characters},
            voices=tuple(self._engine.voices),
        )
        return profile.to_wire()

    def _sound(self, asked: dict[str, Any], spoken: list[int]) -> Iterator[bytes]:
        """Pieces of the file; `spoken` gets the samples of each piece of sound. Runs in the thread."""
        encoder = AudioEncoder(
            asked.get("response_format", USUAL_FORMAT), self._engine.sample_rate, asked.get("speed", 1.0)
        )
        for sentence in sentences(asked["input"]):
            utterance = Utterance(
                sentence,
                asked.get("voice") or self._options.usual_voice(),
                asked.get("language"),
                asked.get("instructions"),
                asked.get("seed"),
            )
            for samples in self._engine.speak(utterance):
                spoken.append(len(samples))
                yield encoder.encode(samples)
        if sum(spoken):
            yield encoder.finish()

    def _usage(self, text: str, samples: int) -> dict[str, int]:
        read = math.ceil(len(text) / CHARACTERS_PER_TOKEN)
        made = math.ceil(samples / self._engine.sample_rate * TOKENS_PER_SECOND)
        return {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}


class EspeakReplica(SpeechReplica):
    """Speech by eSpeak NG."""

    engine_name = "espeak-ng"

    def load(self, source: str, engine_kwargs: dict[str, Any]) -> tuple[SpeechOptions, SpeechEngine]:  # noqa: ARG002
        from deployments.speech_espeak import EspeakEngine

        options = EspeakOptions.model_validate(engine_kwargs)
        return options, EspeakEngine(options.voices)


def _format(asked: dict[str, Any]) -> Any:
    return FORMATS[asked.get("response_format", USUAL_FORMAT)]


def _delta(piece: bytes) -> bytes:
    return _event("speech.audio.delta", {"audio": pybase64.b64encode(piece).decode()})


def _event(kind: str, content: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind} | content) + b"\n\n"
