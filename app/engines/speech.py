"""The options of the speech engines."""

from typing import Self

import pydantic
from pydantic import Field

from app.fields import PositiveInt, Strict

# Names that OpenAI's clients know, and voices of eSpeak NG.
ESPEAK_VOICES = {
    "alloy": "en-us",
    "ash": "en-us+m3",
    "coral": "en-us+f2",
    "fable": "en-gb-scotland",
    "nova": "en-us+f3",
}


class SpeechOptions(Strict):
    """What `engine_kwargs` of every speech engine may say."""

    voices: dict[str, str] = Field(min_length=1, description="what clients call a voice, and what the engine calls it")
    default_voice: str | None = Field(None, description="left out: the first of them")
    max_characters: PositiveInt = Field(4096, description="of one input")

    @pydantic.model_validator(mode="after")
    def _default_is_a_voice(self) -> Self:
        if self.default_voice is not None and self.default_voice not in self.voices:
            raise ValueError(f"default_voice {self.default_voice!r} is not one of voices: {', '.join(self.voices)}")
        return self

    def usual_voice(self) -> str:
        return self.default_voice or next(iter(self.voices))


class EspeakOptions(SpeechOptions):
    """`engine_kwargs` of a model entry whose engine is espeak-ng."""

    voices: dict[str, str] = Field(
        ESPEAK_VOICES, min_length=1, description="what clients call a voice, and what `espeak-ng --voices` calls it"
    )
