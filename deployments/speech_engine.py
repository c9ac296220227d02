"""What every speech engine offers the speech deployment, whatever model is behind it."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from deployments.audio_encoding import Samples


class Utterance(NamedTuple):
    """One sentence, and how to say it."""

    text: str
    voice: str  # a key of the engine's `voices`
    language: str | None = None
    instructions: str | None = None
    seed: int | None = None


class SpeechEngine(Protocol):
    """A voice or several. It is used by one thread at a time; its speed is changed afterwards, by the encoder."""

    sample_rate: int  # Hz

    @property
    def voices(self) -> list[str]:
        """The names of the voices; the first is the usual one."""
        ...

    @property
    def lacks(self) -> dict[str, str]:
        """Which of `language`, `instructions` and `seed` it cannot honour, and why."""
        ...

    def speak(self, utterance: Utterance) -> Iterator[Samples]:
        """The sound of one sentence, as it is made. Blocks; whoever stops asking stops the work."""
        ...
