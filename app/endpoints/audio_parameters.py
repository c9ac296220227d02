"""The parameters of POST /v1/audio/transcriptions and POST /v1/audio/speech."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.parameters.kinds import Choice, Flag, Items, Number, Reading, Text, wrong_type, wrong_value
from app.parameters.row import Parameter, Table, Treatment, ignored, refused
from contract.errors import ApiError
from contract.options.whisper_languages import CODES_BY_NAME, LANGUAGES
from contract.profile import Profile

FASTER_WHISPER = ("faster-whisper",)
MAX_SPEECH_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Script:
    """A text that is to be said, of as many characters as the model's entry allows."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        Text(1).read(value, name, profile)
        longest = profile.limit("max_characters")
        if longest is not None and len(value) > longest:
            message = f"`{name}` has {len(value)} characters; the model takes {longest} at a time. Send it in parts."
            raise ApiError("context_length_exceeded", message, param=name)
        return Reading(value)

    def description(self) -> str:
        return "a string that is not empty, of at most the model's max characters"

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice's name, or an object with its id."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        named = value.get("id") if isinstance(value, dict) else value
        if not isinstance(named, str):
            raise wrong_type(name, self.description())
        if profile.voices and named not in profile.voices:
            raise wrong_value(name, "one of the model's voices: " + ", ".join(profile.voices))
        return Text(1, 256).read(named, name, profile)

    def description(self) -> str:
        return "the name of a voice of the model, or an object with its `id`"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"id": {"type": "string"}}}]}


@dataclass(frozen=True, slots=True)
class SpokenLanguage:
    """A language that the model speaks, read as the model calls it: by its code or by its English name."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, str):
            raise wrong_type(name, self.description())
        named = value.strip().lower()
        for called in (named, CODES_BY_NAME.get(named), LANGUAGES.get(named)):
            if called in profile.languages:
                return Reading(called)
        raise wrong_value(name, "one of the model's languages: " + ", ".join(profile.languages))

    def description(self) -> str:
        return "a language that the model speaks, as a code such as `en` or an English name"

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


@dataclass(frozen=True, slots=True)
class File:
    """The content of a file; it comes as a part of a form, which knows nothing else of that name."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002 - the interface of all kinds
        if not isinstance(value, (bytes, bytearray)):
            raise wrong_type(name, self.description())
        return Reading(value)

    def description(self) -> str:
        return "a file"

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "contentMediaType": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class Language:
    """A language that Whisper knows, read as its code."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002
        if not isinstance(value, str):
            raise wrong_type(name, self.description())
        spoken = value.strip().lower()
        code = spoken if spoken in LANGUAGES else CODES_BY_NAME.get(spoken)
        if code is None:
            raise wrong_value(
                name, f"{self.description()}, or left out: then it is detected. Known are {', '.join(LANGUAGES)}"
            )
        return Reading(code)

    def description(self) -> str:
        return (
            "a code of ISO 639-1, such as `en`, or the English name of a language that Whisper knows, such as `german`"
        )

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


def _one_form_of_times(kept: dict[str, Any], _: Profile) -> Iterable[tuple[str, float, float]]:
    """Times stand in verbose_json only, and a stream is of text."""
    form = kept.get("response_format", "json")
    if kept.get("timestamp_granularities") and form != "verbose_json":
        raise ApiError(
            "invalid_value",
            "`timestamp_granularities` needs `response_format` to be verbose_json. srt and vtt have times without it.",
            param="timestamp_granularities",
        )
    if kept.get("stream") and form not in ("json", "text"):
        raise ApiError(
            "invalid_value",
            f"`stream` sends events with text, which {form} cannot be made of. Leave one of both out.",
            param="stream",
        )
    return ()


TRANSCRIPTIONS = Table(
    rows=(
        Parameter(
            "file",
            File(),
            "The recording, a file of a multipart form, in any format that FFmpeg reads.",
            Treatment.GATEWAY,
            required=True,
            capability="transcriptions",
        ),
        Parameter("model", Text(), "The id of a model. May be left out under /v1/{pipeline}/.", Treatment.GATEWAY),
        Parameter("language", Language(), "Of the recording; else it is detected."),
        Parameter("prompt", Text(), "Words to expect, or the text before; the model sees the last 223 tokens of it."),
        Parameter("response_format", Choice(("json", "text", "srt", "verbose_json", "vtt")), "The form of the answer."),
        Parameter("temperature", Number(0.0, 1.0), "Randomness; at 0 it rises where the text looks wrong."),
        Parameter("timestamp_granularities", Items(Choice(("word", "segment")), 0, 2), "Times in verbose_json."),
        Parameter("include", Items(Choice(("logprobs",)), 0, 1), "What else to tell.", feature="logprobs"),
        Parameter("stream", Flag(), "Send the text while it is found."),
        Parameter("user", Text(), "Written to the log.", Treatment.ACCEPT),
        Parameter("hotwords", Text(), "Words to prefer.", engines=FASTER_WHISPER),
        Parameter("vad_filter", Flag(), "Leave silence out.", engines=FASTER_WHISPER),
        ignored("chunking_strategy", "The engine decides."),
        refused("known_speaker_names", "speakers are not told apart."),
        refused("known_speaker_references", "speakers are not told apart."),
    ),
    rules=(_one_form_of_times,),
)

SPEECH = Table(
    rows=(
        Parameter("model", Text(), "The id of a model. May be left out under /v1/{pipeline}/.", Treatment.GATEWAY),
        Parameter("input", Script(), "What to say.", required=True, capability="speech"),
        Parameter("voice", Voice(), "Who says it; the model's card lists the voices."),
        Parameter("response_format", Choice(("mp3", "opus", "aac", "flac", "wav", "pcm")), "How sound is encoded."),
        Parameter("speed", Number(0.25, 4.0), "1 is the voice's own."),
        Parameter("instructions", Text(0, MAX_SPEECH_CHARACTERS), "How to say it.", feature="instructions"),
        Parameter("stream_format", Choice(("audio", "sse")), "The sound itself, or events with it."),
        Parameter("language", SpokenLanguage(), "Of the input.", feature="language"),
        Parameter("seed", Number(0, 2**63 - 1, integer=True), "The same seed, the same sound.", feature="seed"),
        Parameter("user", Text(), "Written to the log.", Treatment.ACCEPT),
    )
)
