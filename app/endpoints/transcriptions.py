"""POST /v1/audio/transcriptions, and what it shares with translations."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from app.budgets.estimate import CountedFields
from app.endpoints.answers import INTEGER, NUMBER, STRING, Component, array, const, one_of, record
from app.endpoints.endpoint import Endpoint
from app.parameters.kinds import File, Flag, Items, Number, OneOf, Reading, Text, wrong_type, wrong_value
from app.parameters.row import MODEL, STREAM, USER, Parameter, Table, ignored, refused
from contract.errors import ApiError
from contract.options.whisper_languages import CODES_BY_NAME, LANGUAGES
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, TRANSCRIPTIONS_ROUTE, join

FASTER_WHISPER = ("faster-whisper",)


@dataclass(frozen=True, slots=True)
class Language:
    """A language that Whisper knows, read as its code."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002 - the interface of all kinds
        if not isinstance(value, str):
            raise wrong_type(name, self.description())
        given = value.strip().lower()
        code = given if given in LANGUAGES else CODES_BY_NAME.get(given)
        if code is None:
            known = ", ".join(LANGUAGES)
            raise wrong_value(name, f"{self.description()}. Without it the language is detected. Supported: {known}")
        return Reading(code)

    def description(self) -> str:
        return "an ISO-639-1 code, such as `en`, or the English name of a language that Whisper knows, such as `german`"

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


def check_response_format(legal: dict[str, Any], _: Profile) -> Iterable[tuple[str, float, float]]:
    """Timestamps are in verbose_json only, and a stream is of text."""
    response_format = legal.get("response_format", "json")
    if legal.get("timestamp_granularities") and response_format != "verbose_json":
        message = "`timestamp_granularities` needs `response_format` to be verbose_json. srt and vtt have timestamps "
        raise ApiError("invalid_value", f"{message}without it.", param="timestamp_granularities")
    if legal.get("stream") and response_format not in ("json", "text"):
        message = f"`stream` cannot be used with `response_format` {response_format}, only with json and text."
        raise ApiError("invalid_value", message, param="stream")
    return ()


def recording(capability: str, verb: str) -> Parameter:
    """The row of the file, which needs a model with `capability`."""
    note = f"The audio file to {verb}: mp3, m4a, mp4, wav, webm, ogg, opus, flac, aac, aiff, caf, amr, mkv, mov."
    return Parameter("file", File(), note, required=True, capability=capability)


NO_SPEAKERS = "speaker diarization is not supported."
LANGUAGE = Parameter("language", Language(), "Language of the audio. Without it the language is detected.")
RESPONSE_FORMAT = Parameter(
    "response_format",
    OneOf(
        ("json", "text", "srt", "verbose_json", "vtt"),
        unsupported=(("diarized_json", f"{NO_SPEAKERS} verbose_json has the times of segments."),),
    ),
    "Format of the output.",
)
TEMPERATURE = Parameter(
    "temperature", Number(0.0, 1.0), "Sampling temperature. 0 is raised where the text looks wrong."
)
FASTER_WHISPER_EXTRAS = (
    Parameter("hotwords", Text(), "Words to favor.", engines=FASTER_WHISPER),
    Parameter("vad_filter", Flag(), "Whether to skip parts without speech.", engines=FASTER_WHISPER),
    ignored("chunking_strategy", "The engine splits the audio into chunks itself."),
)

TABLE = Table(
    rows=(
        recording("transcriptions", "transcribe"),
        MODEL,
        LANGUAGE,
        Parameter(
            "prompt",
            Text(),
            "Text to guide the style, or the preceding transcript; the last 223 tokens of it are used.",
        ),
        RESPONSE_FORMAT,
        TEMPERATURE,
        Parameter(
            "timestamp_granularities", Items(OneOf(("word", "segment")), 0, 2), "Timestamps to include in verbose_json."
        ),
        Parameter("include", Items(OneOf(("logprobs",)), 0, 1), "Additional data to include.", feature="logprobs"),
        STREAM,
        USER,
        *FASTER_WHISPER_EXTRAS,
        refused("known_speaker_names", NO_SPEAKERS),
        refused("known_speaker_references", NO_SPEAKERS),
    ),
    rules=(check_response_format,),
)


def engine_body(parameters: dict[str, Any], model_id: str) -> bytes:
    """The file as it is, behind everything else."""
    fields = {name: value for name, value in parameters.items() if name != "file"} | {"model": model_id}
    return join(orjson.dumps(fields), parameters["file"])


USAGE = record({"type": const("duration"), "seconds": NUMBER})
_WORD = record({"word": STRING, "start": NUMBER, "end": NUMBER})
SEGMENT = record(
    {"id": INTEGER, "start": NUMBER, "end": NUMBER, "text": STRING},
    {
        "seek": INTEGER,
        "tokens": array(INTEGER),
        "temperature": NUMBER,
        "avg_logprob": NUMBER,
        "compression_ratio": NUMBER,
        "no_speech_prob": NUMBER,
    },
)
TEXTS = {"text/plain": STRING, "application/x-subrip": STRING, "text/vtt": STRING}  # beside JSON

TRANSCRIPTIONS = Endpoint(
    path=TRANSCRIPTIONS_ROUTE,
    summary="Create transcription",
    answer="The transcription in the `response_format`. With `stream`: server-sent events.",
    content={
        "application/json": Component(
            "Transcription",
            record(
                {"text": STRING, "usage": USAGE},
                {  # of verbose_json
                    "task": const("transcribe"),
                    "language": STRING,
                    "duration": NUMBER,
                    "words": array(_WORD),
                    "segments": array(SEGMENT),
                },
            ),
        ),
        **TEXTS,
        EVENT_STREAM: Component(
            "TranscriptionStreamEvent",
            record(
                {"type": one_of(("transcript.text.delta", "transcript.text.done"))},
                {"delta": STRING, "text": STRING, "portico": record({"usage": USAGE})},
            ),
        ),
    },
    table=TABLE,
    example={"file": b""},
    counted=CountedFields(("prompt",)),
    engine_body=engine_body,
)
