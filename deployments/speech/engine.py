"""The engine of speech: a synthesizer of sentences, and an encoder that makes a file of their audio as it comes."""

import asyncio
import math
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Self

import orjson
import pybase64

from contract import sse
from contract.errors import ApiError
from contract.options.catalog import ServedModel
from contract.options.speech import SpeechOptions
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, RequestHead, ResponseHead, ResponseItem, ResponseTail
from deployments.replica import Engine
from deployments.speech.audio_encoding import FORMATS, AudioEncoder, AudioFormat
from deployments.speech.sentences import sentences
from deployments.speech.synthesizer import Synthesizer, Utterance, VoiceError
from deployments.speech.worker import SynthesisWorker

DEFAULT_FORMAT = "mp3"
CHARACTERS_PER_TOKEN = 4
TOKENS_PER_SECOND = 20  # of audio
NO_WORDS = "`input` holds nothing that can be said. Send words."
TRIAL_TEXT = "Ready?"


class SpeechEngine(Engine):
    """A synthesizer, its thread and the encoders."""

    def __init__(self, worker: SynthesisWorker, model: ServedModel, options: SpeechOptions) -> None:
        self._worker = worker
        self._synthesizer = worker.synthesizer
        self._name = model.engine
        self._max_characters = options.max_characters
        self._default_voice = options.default_voice or self._synthesizer.voices[0]
        if self._default_voice not in self._synthesizer.voices:
            names = ", ".join(self._synthesizer.voices)
            raise VoiceError(f"default_voice {self._default_voice!r} is not one of {names}")
        # One thread for all encoders: each is used and closed in turn, and never by two threads at once.
        self._encoding = ThreadPoolExecutor(1, thread_name_prefix="encoder")

    @classmethod
    async def start(cls, synthesizer: type[Synthesizer], model: ServedModel, options: SpeechOptions) -> Self:
        """Load the synthesizer, in its thread."""
        worker = await asyncio.to_thread(SynthesisWorker, lambda: synthesizer(model, options))
        return cls(worker, model, options)

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:  # noqa: ARG002
        """The file, as it is synthesized. Closing it stops the work at the next piece of audio."""
        parameters = orjson.loads(body)
        as_events = parameters.get("stream_format") == "sse"
        audio_format = FORMATS[parameters.get("response_format", DEFAULT_FORMAT)]
        samples: list[int] = []
        yield ResponseHead(200, EVENT_STREAM if as_events else audio_format.media_type)
        async with aclosing(self._file(parameters, audio_format, samples)) as pieces:
            async for piece in pieces:
                yield _delta(piece) if as_events else piece
        if not sum(samples):
            raise ApiError("invalid_value", NO_WORDS, param="input")
        usage = self._usage(parameters["input"], sum(samples))
        if as_events:
            yield _event("speech.audio.done", {"usage": usage})
        yield ResponseTail(usage)

    def profile(self) -> Profile:
        return Profile(
            engine=self._name,
            capabilities=frozenset({"speech"}),
            lacks=self._synthesizer.lacks,
            limits={"max_characters": self._max_characters},
            voices=tuple(self._synthesizer.voices),
            languages=tuple(self._synthesizer.languages),
        )

    async def trial(self) -> None:
        await asyncio.to_thread(self._worker.try_out, Utterance(TRIAL_TEXT, self._default_voice))

    def unfinished(self) -> int:
        """Sentences that are synthesized or wait for it."""
        return self._worker.unfinished

    def steps(self) -> int:
        return self._worker.steps

    def close(self) -> None:
        self._worker.close()
        self._encoding.shutdown(wait=False)

    async def _file(
        self, parameters: dict[str, Any], audio_format: AudioFormat, made: list[int]
    ) -> AsyncGenerator[bytes]:
        """Pieces of the file, none of them empty; `made` gets the number of samples in each piece of audio."""
        loop = asyncio.get_running_loop()
        encoder = await loop.run_in_executor(
            self._encoding, AudioEncoder, audio_format, self._synthesizer.sample_rate, parameters.get("speed", 1.0)
        )
        try:
            for utterance in self._utterances(parameters):
                async with aclosing(self._worker.synthesize(utterance)) as audio:
                    async for samples in audio:
                        made.append(len(samples))
                        if piece := await loop.run_in_executor(self._encoding, encoder.encode, samples):
                            yield piece
            if sum(made) and (piece := await loop.run_in_executor(self._encoding, encoder.finish)):
                yield piece
        finally:
            self._encoding.submit(encoder.close)

    def _utterances(self, parameters: dict[str, Any]) -> Iterator[Utterance]:
        language = parameters.get("language")
        voice = parameters.get("voice") or self._default_voice
        for sentence in sentences(parameters["input"], self._synthesizer.longest_sentence(language)):
            yield Utterance(sentence, voice, language, parameters.get("instructions"), parameters.get("seed"))

    def _usage(self, text: str, samples: int) -> dict[str, int]:
        read = math.ceil(len(text) / CHARACTERS_PER_TOKEN)
        generated = math.ceil(samples / self._synthesizer.sample_rate * TOKENS_PER_SECOND)
        return {"input_tokens": read, "output_tokens": generated, "total_tokens": read + generated}


def _delta(piece: bytes) -> bytes:
    return _event("speech.audio.delta", {"audio": pybase64.b64encode(piece).decode()})


def _event(kind: str, content: dict[str, Any]) -> bytes:
    return sse.event({"type": kind} | content, kind)
