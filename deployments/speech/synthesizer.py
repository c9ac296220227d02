"""What every speech engine is made of: a class that makes audio of one sentence, whatever model is behind it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from contract.options.catalog import ServedModel
from deployments.replica import Engine
from deployments.speech.audio_encoding import Samples
from deployments.speech.sentences import LONGEST


class VoiceError(ValueError):
    """The configuration names a voice, or a model, that the engine does not have."""


class PackagesError(ImportError):
    """The engine's own packages are not there, or not whole."""


class Cancelled(Exception):
    """Nobody waits for the sentence any more."""


class Utterance(NamedTuple):
    """One sentence, and how to synthesize it."""

    text: str
    voice: str  # one of the engine's `voices`
    language: str | None = None  # one of its `languages`
    instructions: str | None = None
    seed: int | None = None


class Synthesizer(ABC):
    """A voice or several, used by one thread. Speed is not its matter: the encoder changes it afterwards."""

    sample_rate: int  # Hz
    voices: list[str]  # names; the first is the default
    languages: list[str] = []  # noqa: RUF012 - codes or English names; empty where a client cannot choose
    lacks: dict[str, str] = {}  # noqa: RUF012 - which of `language`, `instructions`, `seed` it cannot honour -> why

    @abstractmethod
    def __init__(self, model: ServedModel, options: Any) -> None:
        """Load the model. Raises VoiceError, LicenseError, PackagesError, PickleError."""

    @abstractmethod
    def synthesize(self, utterance: Utterance, cancelled: Callable[[], bool]) -> Generator[Samples]:
        """The audio of one sentence, in as many pieces as it is made in; none where it holds no words.

        Blocks. Closing it stops the work; so does `cancelled` where the engine can ask it while it makes a piece, and
        then Cancelled is raised.
        """

    def longest_sentence(self, language: str | None) -> int:  # noqa: ARG002
        """Characters that it takes at once in that language; longer sentences are cut before it gets them."""
        return LONGEST

    @classmethod
    async def start(cls, model: ServedModel, options: Any) -> Engine:
        """The engine around such a synthesizer."""
        from deployments.speech.engine import SpeechEngine  # which is written in terms of this class

        return await SpeechEngine.start(cls, model, options)


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
