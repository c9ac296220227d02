"""What every speech engine offers the speech deployment, whatever model is behind it."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from deployments.speech.audio_encoding import Samples


class VoiceError(ValueError):
    """The configuration names a voice, or a model, that the engine cannot speak with."""


class PackagesError(ImportError):
    """The engine's own packages are not there, or not whole."""


class GivenUp(Exception):
    """Nobody waits for the sentence any more."""


class Utterance(NamedTuple):
    """One sentence, and how to say it."""

    text: str
    voice: str  # one of the engine's `voices`
    language: str | None = None  # one of its `languages`
    instructions: str | None = None
    seed: int | None = None


class SpeechEngine(Protocol):
    """A voice or several. It says one sentence at a time; its speed is changed afterwards, by the encoder."""

    sample_rate: int  # Hz

    @property
    def voices(self) -> list[str]:
        """The names of the voices; the first is the usual one."""
        ...

    @property
    def languages(self) -> list[str]:
        """What a client may ask for, as codes or as English names; empty where it cannot choose."""
        ...

    @property
    def lacks(self) -> dict[str, str]:
        """Which of `language`, `instructions` and `seed` it cannot honour, and why."""
        ...

    def longest_sentence(self, language: str | None) -> int:
        """Characters that it can say at once in that language; longer sentences are cut before it gets them."""
        ...

    def speak(self, utterance: Utterance, given_up: Callable[[], bool]) -> Generator[Samples]:
        """The sound of one sentence, in as many pieces as it is made in; none where nothing in it can be said.

        Blocks. Closing it stops the work; so does `given_up` where the engine can ask it while it makes a piece, and
        then GivenUp is raised.
        """
        ...


@contextmanager
def own_packages(lock: str) -> Iterator[None]:
    """Imports from a folder of packages of its own. Raises PackagesError, which says how to come by it."""
    try:
        yield
    except ImportError as error:
        raise PackagesError(
            f"{error}. Install locks/{lock}.txt in a folder and name it under `packages` of the model's entry: "
            "see docs/speech.md"
        ) from error


def chosen(named: Mapping[str, Any], known: Mapping[Any, Any], called: str = "speaker") -> dict[str, Any]:
    """What each voice is to the engine: of those that the configuration names, else all. Raises VoiceError."""
    if not named:
        return dict(known)
    for voice, meant in named.items():
        if meant not in known:
            raise VoiceError(
                f"voices: {voice}: the model has no {called} {meant!r}; it has {', '.join(map(str, known)) or 'none'}"
            )
    return {voice: known[meant] for voice, meant in named.items()}
