"""The parameters of POST /v1/audio/transcriptions and POST /v1/audio/speech."""

from dataclasses import dataclass
from typing import Any

from app.parameters.kinds import Anything, Choice, Flag, Items, Number, Reading, Text, wrong_type
from app.parameters.row import Parameter, Table, Treatment, ignored, refused
from app.profile import Profile

FASTER_WHISPER = ("faster-whisper",)
MAX_SPEECH_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice's name, or an object with its id."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        named = value.get("id") if isinstance(value, dict) else value
        if not isinstance(named, str):
            raise wrong_type(name, self.told())
        return Text(1, 256).read(named, name, profile)

    def told(self) -> str:
        return "the name of a voice of the model, or an object with its `id`"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"id": {"type": "string"}}}]}


TRANSCRIPTIONS = Table(
    rows=(
        Parameter("file", Anything(), "The recording, a file of a multipart form.", Treatment.GATEWAY, required=True),
        Parameter("model", Text(), "The id of a model. May be left out under /v1/{pipeline}/.", Treatment.GATEWAY),
        Parameter("language", Text(2, 32), "ISO 639-1, or a name that Whisper knows; else it is detected."),
        Parameter("prompt", Text(), "Words to expect, or the text before."),
        Parameter("response_format", Choice(("json", "text", "srt", "verbose_json", "vtt")), "The form of the answer."),
        Parameter("temperature", Number(0.0, 1.0), "Randomness."),
        Parameter("timestamp_granularities", Items(Choice(("word", "segment")), 0, 2), "Times in verbose_json."),
        Parameter("include", Items(Choice(("logprobs",)), 0, 1), "What else to tell.", feature="logprobs"),
        Parameter("stream", Flag(), "Send the text while it is found."),
        Parameter("user", Text(), "Written to the log.", Treatment.ACCEPT),
        Parameter("hotwords", Text(), "Words to prefer.", engines=FASTER_WHISPER),
        Parameter("vad_filter", Flag(), "Leave silence out.", engines=FASTER_WHISPER),
        ignored("chunking_strategy", "The engine decides."),
        refused("known_speaker_names", "speakers are not told apart."),
        refused("known_speaker_references", "speakers are not told apart."),
    )
)

SPEECH = Table(
    rows=(
        Parameter("model", Text(), "The id of a model. May be left out under /v1/{pipeline}/.", Treatment.GATEWAY),
        Parameter("input", Text(1), "What to say.", required=True),
        Parameter("voice", Voice(), "Who says it; the model's card lists the voices."),
        Parameter("response_format", Choice(("mp3", "opus", "aac", "flac", "wav", "pcm")), "How sound is encoded."),
        Parameter("speed", Number(0.25, 4.0), "1 is the voice's own."),
        Parameter("instructions", Text(0, MAX_SPEECH_CHARACTERS), "How to say it.", feature="instructions"),
        Parameter("stream_format", Choice(("audio", "sse")), "The sound itself, or events with it."),
        Parameter("language", Text(2, 32), "Of the input.", feature="language"),
        Parameter("seed", Number(0, 2**63 - 1, integer=True), "The same seed, the same sound.", feature="seed"),
        Parameter("user", Text(), "Written to the log.", Treatment.ACCEPT),
    )
)
