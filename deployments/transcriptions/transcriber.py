"""The one file that knows faster-whisper: a model, and a recording's way through it in steps."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from contract.errors import ApiError
from contract.options.catalog import ServedModel
from contract.options.faster_whisper import TranscriberOptions
from contract.options.whisper_languages import LANGUAGES
from contract.profile import Profile
from deployments.audio.recording import SAMPLE_RATE, Recording, Samples
from deployments.transcriptions.transcript import Segment, Word

TRANSCRIBE, TRANSLATE = "transcribe", "translate"  # faster-whisper's names
NO_LOGPROBS = "faster-whisper gives no log-probabilities of tokens"
WINDOW_SECONDS = 30  # what Whisper reads at once
# Windows of a part. Its pauses and its features are found in one step, which nobody can stop and for which others wait;
# for an hour that would take seconds, and gigabytes.
PART_WINDOWS = 8
CUT_WITHIN_SECONDS = 30  # the end of a part in which it may be cut
PAUSE_SECONDS = 0.4
MAX_PROMPT_TOKENS = 223
MAX_HOTWORD_TOKENS = 100
CONTROL_TOKEN = re.compile(r"<\|[^|<>]*\|>")


class TranscriptionRequest(NamedTuple):
    """What a client asks of a transcription."""

    task: str = TRANSCRIBE
    language: str | None = None  # that is spoken, a code of Whisper
    prompt: str = ""
    hotwords: str = ""
    temperature: float = 0.0  # 0: the temperatures of the options, in turn
    vad_filter: bool | None = None
    words: bool = False  # with the times of words
    segments: bool = False  # with close times of segments


class Step(NamedTuple):
    """What one step found."""

    language: str
    segment: Segment


class Transcriber:
    """A Whisper model. Its methods may be called from several threads; as many work at once as it has workers."""

    def __init__(self, model: ServedModel, options: TranscriberOptions) -> None:
        """Load the model. Its `source` may also be a size that faster-whisper knows. Its weights are no pickles."""
        from faster_whisper import WhisperModel

        self.options = options
        self._model = WhisperModel(
            model.source,
            revision=model.revision,
            device=self.options.device,
            compute_type=self.options.compute_type,
            cpu_threads=self.options.cpu_threads,
            num_workers=self.options.num_workers,
        )
        known = self._model.hf_tokenizer
        multilingual = self._model.model.is_multilingual
        # One that knows English only was never taught to translate.
        self._translates = multilingual and known.token_to_id("<|translate|>") is not None
        self.languages = [code for code in LANGUAGES if known.token_to_id(f"<|{code}|>") is not None]
        if not multilingual:
            self.languages = ["en"]

    def profile(self) -> Profile:
        return Profile(
            engine="faster-whisper",
            capabilities=frozenset({"transcriptions", "translations"} if self._translates else {"transcriptions"}),
            lacks={"logprobs": NO_LOGPROBS},
            limits={"audio_seconds": int(self.options.max_audio_seconds)},
        )

    def transcribe(self, recording: Recording, request: TranscriptionRequest) -> Iterator[Step | None]:
        """The segments of `recording`, in steps: each takes a slice of decoding, or at most a batch of windows.

        None comes where a step found nothing. Raises ApiError: `invalid_audio`, `invalid_value` of `language`.
        """
        if request.language is not None and request.language not in self.languages:
            legal = ", ".join(self.languages)
            raise ApiError("invalid_value", f"This model does not know that `language`; it knows {legal}.",
                           param="language")  # fmt: skip
        yield from recording.decode()
        longest = self.part_seconds(request, recording.seconds)
        start = 0
        while start < len(recording.samples):
            part = recording.samples[start:]
            part = part[: quiet_cut(part, longest)]
            for segment, language in self._part(part, start / SAMPLE_RATE, request, recording.seconds):
                request = request._replace(language=language)
                yield Step(language, segment)
            start += len(part)
            yield None

    def try_out(self) -> None:
        """Take a second of noise through everything that the first request would wait for."""
        noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
        for vad in (True, False):
            list(self._part(noise, 0.0, TranscriptionRequest(vad_filter=vad), 1.0))

    def part_seconds(self, request: TranscriptionRequest, seconds: float) -> int:
        """How much of a recording is prepared at once: no less than a batch, where there are any."""
        batched = self.batches(request, seconds, self._vad(request))
        return WINDOW_SECONDS * (max(PART_WINDOWS, self.options.batch_size) if batched else PART_WINDOWS)

    def _vad(self, request: TranscriptionRequest) -> bool:
        return self.options.vad if request.vad_filter is None else request.vad_filter

    def batches(self, request: TranscriptionRequest, seconds: float, vad: bool) -> bool:
        """Whether windows go through the model together; `profile` of the options says when."""
        if not vad:
            return False  # the pauses are where windows are cut
        if self.options.profile == "auto":
            special = request.words or request.prompt or request.temperature > 0
            return seconds > self.options.batch_over_s and not special
        return self.options.profile == "fast"

    def _part(
        self, part: Samples, offset: float, request: TranscriptionRequest, seconds: float
    ) -> Iterator[tuple[Segment, str]]:
        """The segments of one part, which begins at `offset`, with the language that it is in."""
        from faster_whisper import BatchedInferencePipeline

        vad = self._vad(request)
        arguments = self._arguments(request) | {"vad_filter": vad}
        if vad:
            arguments["vad_parameters"] = self.options.vad_parameters.model_dump()
        if self.batches(request, seconds, vad):
            # The pipeline keeps where speech last ended, so each recording has its own.
            arguments |= {"batch_size": self.options.batch_size, "without_timestamps": not request.segments}
            segments, info = BatchedInferencePipeline(self._model).transcribe(part, **arguments)
        else:
            arguments["condition_on_previous_text"] = self.options.condition_on_previous_text
            segments, info = self._model.transcribe(part, **arguments)
        for one in segments:
            if segment := _segment(one, offset, seconds):
                yield segment, info.language

    def _arguments(self, request: TranscriptionRequest) -> dict[str, Any]:
        hotwords = self._bounded(request.hotwords, MAX_HOTWORD_TOKENS)
        room = MAX_PROMPT_TOKENS - MAX_HOTWORD_TOKENS if hotwords else MAX_PROMPT_TOKENS
        return {
            "task": request.task,
            "language": request.language,
            "beam_size": self.options.beam_size,
            "temperature": [request.temperature] if request.temperature > 0 else self.options.temperatures,
            "initial_prompt": self._bounded(request.prompt, room),
            "hotwords": hotwords,
            "word_timestamps": request.words,
            "max_new_tokens": self.options.max_new_tokens,
        }

    def _bounded(self, text: str, tokens: int) -> str | None:
        """The end of `text`, as much of it as the model can see, and no control tokens in it."""
        text = CONTROL_TOKEN.sub(" ", text).strip()
        ids = self._model.hf_tokenizer.encode(text, add_special_tokens=False).ids
        if len(ids) > tokens:
            text = self._model.hf_tokenizer.decode(ids[-tokens:]).strip()
        return text or None


def quiet_cut(samples: Samples, part_seconds: int) -> int:
    """How many of `samples` are the next part: all, or up to the quietest moment near a part's end."""
    longest = part_seconds * SAMPLE_RATE
    if len(samples) <= longest:
        return len(samples)
    frame = SAMPLE_RATE // 50
    searched = samples[longest - CUT_WITHIN_SECONDS * SAMPLE_RATE : longest]
    loudness = np.square(searched.reshape(-1, frame)).mean(axis=1)
    pause = int(PAUSE_SECONDS * 50)
    smooth = np.convolve(loudness, np.ones(pause), "valid")
    return longest - len(searched) + (int(smooth.argmin()) + pause // 2) * frame


def _segment(one: Any, offset: float, seconds: float) -> Segment | None:
    """faster-whisper's segment as ours, its times inside the recording; None where it has no text."""
    if not one.text.strip():
        return None

    def at(time: float) -> float:
        return round(min(max(float(time) + offset, 0.0), seconds), 3)

    start = at(one.start)
    return Segment(
        text=one.text.rstrip(),
        start=start,
        end=max(start, at(one.end)),
        tokens=list(one.tokens),
        temperature=float(one.temperature),
        avg_logprob=float(one.avg_logprob),
        compression_ratio=float(one.compression_ratio),
        no_speech_prob=float(one.no_speech_prob),
        seek=int(one.seek) + round(offset * 100),
        words=[Word(word.word, at(word.start), max(at(word.start), at(word.end))) for word in one.words or []],
    )
