"""The speech deployment: an engine that speaks sentences, and an encoder that makes a file of them as they come."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import orjson
import pybase64

from contract.errors import ApiError, upstream_error
from contract.options.speech import (
    BarkOptions,
    EspeakOptions,
    QwenTtsOptions,
    SpeechOptions,
    VitsOptions,
    XttsOptions,
)
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, RequestHead, ResponseHead, ResponseItem, ResponseTail
from deployments.health import Health
from deployments.speech.audio_encoding import FORMATS, AudioEncoder, Format
from deployments.speech.engine import SpeechEngine, Utterance, VoiceError
from deployments.speech.sentences import sentences
from deployments.speech.speaker import Speaker

logger = logging.getLogger("portico.speech")

USUAL_FORMAT = "mp3"
CHARACTERS_PER_TOKEN = 4
TOKENS_PER_SECOND = 20  # of sound
SILENT = "`input` holds nothing that can be said. Send words."
TRIAL = "Ready?"


class SpeechReplica:
    """One replica of a voice model. It is ready once it has said something."""

    engine_name: str
    options_type: type[SpeechOptions]

    def __init__(self, model_id: str, source: str, engine_kwargs: dict[str, Any]) -> None:
        self._model_id = model_id
        self._options = self.options_type.model_validate(engine_kwargs)
        self._speaker = Speaker(lambda: self.load(source, self._options))
        self._engine = self._speaker.engine
        self._usual_voice = self._options.default_voice or self._engine.voices[0]
        if self._usual_voice not in self._engine.voices:
            raise VoiceError(f"default_voice {self._usual_voice!r} is not one of {', '.join(self._engine.voices)}")
        # One thread for all encoders: each is used and closed in turn, and never by two threads at once.
        self._encoding = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        trial = Utterance(TRIAL, self._usual_voice)
        self._health = Health(lambda: asyncio.to_thread(self._speaker.try_out, trial))
        self._speaker.try_out(trial)

    def load(self, source: str, options: Any) -> SpeechEngine:
        """The engine. Called in the thread that will use it."""
        raise NotImplementedError

    async def handle(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        """Answer one request, as it is spoken. Closing this generator stops the work at the next piece of sound."""
        asked = orjson.loads(body)
        as_events = asked.get("stream_format") == "sse"
        made = FORMATS[asked.get("response_format", USUAL_FORMAT)]
        started = False
        spoken: list[int] = []
        try:
            async with aclosing(self._file(asked, made, spoken)) as pieces:
                async for piece in pieces:
                    if not started:
                        started = True
                        yield ResponseHead(200, EVENT_STREAM if as_events else made.media_type)
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
            self._health.suspect()
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
            languages=tuple(self._engine.languages),
        )
        return profile.to_wire()

    async def check_health(self) -> None:
        """Raises EngineBrokenError."""
        self._health.check()

    def unfinished_sentences(self) -> int:
        """Sentences that are spoken or wait for it."""
        return self._speaker.unfinished

    async def _file(self, asked: dict[str, Any], made: Format, spoken: list[int]) -> AsyncGenerator[bytes]:
        """Pieces of the file, none of them empty; `spoken` gets the samples of each piece of sound."""
        loop = asyncio.get_running_loop()
        encoder = await loop.run_in_executor(
            self._encoding, AudioEncoder, made, self._engine.sample_rate, asked.get("speed", 1.0)
        )
        try:
            for utterance in self._utterances(asked):
                async with aclosing(self._speaker.say(utterance)) as sound:
                    async for samples in sound:
                        spoken.append(len(samples))
                        if piece := await loop.run_in_executor(self._encoding, encoder.encode, samples):
                            yield piece
            if sum(spoken) and (piece := await loop.run_in_executor(self._encoding, encoder.finish)):
                yield piece
        finally:
            self._encoding.submit(encoder.close)

    def _utterances(self, asked: dict[str, Any]) -> Iterator[Utterance]:
        language = asked.get("language")
        for sentence in sentences(asked["input"], self._engine.longest_sentence(language)):
            voice = asked.get("voice") or self._usual_voice
            yield Utterance(sentence, voice, language, asked.get("instructions"), asked.get("seed"))

    def _usage(self, text: str, samples: int) -> dict[str, int]:
        read = math.ceil(len(text) / CHARACTERS_PER_TOKEN)
        made = math.ceil(samples / self._engine.sample_rate * TOKENS_PER_SECOND)
        return {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}


class EspeakReplica(SpeechReplica):
    """Speech by eSpeak NG."""

    engine_name = "espeak-ng"
    options_type = EspeakOptions

    def load(self, source: str, options: EspeakOptions) -> SpeechEngine:  # noqa: ARG002 - it comes with its voices
        from deployments.speech.espeak import EspeakEngine

        return EspeakEngine(options.voices)


class VitsReplica(SpeechReplica):
    """Speech by VITS or MMS-TTS."""

    engine_name = "vits"
    options_type = VitsOptions

    def load(self, source: str, options: VitsOptions) -> SpeechEngine:
        from deployments.speech.vits import VitsEngine

        return VitsEngine(source, options)


class BarkReplica(SpeechReplica):
    """Speech by Bark."""

    engine_name = "bark"
    options_type = BarkOptions

    def load(self, source: str, options: BarkOptions) -> SpeechEngine:
        from deployments.speech.bark import BarkEngine

        return BarkEngine(source, options)


class XttsReplica(SpeechReplica):
    """Speech by XTTS."""

    engine_name = "xtts"
    options_type = XttsOptions

    def load(self, source: str, options: XttsOptions) -> SpeechEngine:
        from deployments.speech.xtts import XttsEngine

        return XttsEngine(source, options)


class QwenTtsReplica(SpeechReplica):
    """Speech by Qwen3-TTS."""

    engine_name = "qwen3-tts"
    options_type = QwenTtsOptions

    def load(self, source: str, options: QwenTtsOptions) -> SpeechEngine:
        from deployments.speech.qwen import QwenTtsEngine

        return QwenTtsEngine(source, options)


def _delta(piece: bytes) -> bytes:
    return _event("speech.audio.delta", {"audio": pybase64.b64encode(piece).decode()})


def _event(kind: str, content: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind} | content) + b"\n\n"
