"""POST /v1/audio/speech."""

from dataclasses import dataclass
from typing import Any

from app.budgets.estimate import CountedFields
from app.endpoints.answers import BINARY, INTEGER, STRING, Component, one_of, record
from app.endpoints.endpoint import Endpoint
from app.parameters.kinds import Number, OneOf, Reading, Text, wrong_type, wrong_value
from app.parameters.row import MODEL, USER, Parameter, Table
from contract.errors import ApiError
from contract.options.whisper_languages import CODES_BY_NAME, LANGUAGES
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, SPEECH_ROUTE

MAX_INSTRUCTIONS = 4096
MEDIA_TYPES = ("audio/mpeg", "audio/opus", "audio/aac", "audio/flac", "audio/wav", "audio/pcm")


@dataclass(frozen=True, slots=True)
class SpeechInput:
    """Text to synthesize, of as many characters as the model takes at once."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        Text(1).read(value, name, profile)
        limit = profile.limit("max_characters")
        if limit is not None and len(value) > limit:
            message = f"`{name}` has {len(value)} characters; the model takes {limit} at a time. Split the text."
            raise ApiError("context_length_exceeded", message, param=name)
        return Reading(value)

    def description(self) -> str:
        return "a string that is not empty, of at most the model's max characters"

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True, slots=True)
class Voice:
    """The name of a voice, or an object with its id."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        voice = value.get("id") if isinstance(value, dict) else value
        if not isinstance(voice, str):
            raise wrong_type(name, self.description())
        if profile.voices and voice not in profile.voices:
            raise wrong_value(name, "one of the model's voices: " + ", ".join(profile.voices))
        return Text(1, 256).read(voice, name, profile)

    def description(self) -> str:
        return "the name of a voice of the model, or an object with its `id`"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"id": {"type": "string"}}}]}


@dataclass(frozen=True, slots=True)
class SpeechLanguage:
    """A language that the model synthesizes, by its code or English name, read as the model calls it."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, str):
            raise wrong_type(name, self.description())
        given = value.strip().lower()
        for called in (given, CODES_BY_NAME.get(given), LANGUAGES.get(given)):
            if called in profile.languages:
                return Reading(called)
        raise wrong_value(name, "one of the model's languages: " + ", ".join(profile.languages))

    def description(self) -> str:
        return "a language of the model, as an ISO-639-1 code such as `en` or an English name"

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


TABLE = Table(
    rows=(
        MODEL,
        Parameter("input", SpeechInput(), "Text to synthesize.", required=True, capability="speech"),
        Parameter("voice", Voice(), "Voice to use. GET /v1/models/{id} lists the model's voices."),
        Parameter("response_format", OneOf(("mp3", "opus", "aac", "flac", "wav", "pcm")), "File format of the audio."),
        Parameter("speed", Number(0.25, 4.0), "Speed of the audio. 1 is the voice's own."),
        Parameter(
            "instructions", Text(0, MAX_INSTRUCTIONS), "Additional instructions for the voice.", feature="instructions"
        ),
        Parameter("stream_format", OneOf(("audio", "sse")), "Whether to send the audio itself or server-sent events."),
        Parameter("language", SpeechLanguage(), "Language of the input.", feature="language"),
        Parameter("seed", Number(0, 2**63 - 1, integer=True), "The same seed gives the same audio.", feature="seed"),
        USER,
    )
)

_USAGE = record({"input_tokens": INTEGER, "output_tokens": INTEGER, "total_tokens": INTEGER})

SPEECH = Endpoint(
    path=SPEECH_ROUTE,
    summary="Create speech",
    answer="The audio while it is synthesized. With `stream_format: sse`: server-sent events.",
    content={
        **dict.fromkeys(MEDIA_TYPES, BINARY),
        EVENT_STREAM: Component(
            "SpeechStreamEvent",
            record({"type": one_of(("speech.audio.delta", "speech.audio.done"))}, {"audio": STRING, "usage": _USAGE}),
        ),
    },
    table=TABLE,
    example={"input": "Hello!"},
    counted=CountedFields(("input", "instructions")),
    characters=lambda parameters: len(parameters["input"]),
)
