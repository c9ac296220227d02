"""Speech by rules: eSpeak NG, small and intelligible, with nothing to download."""

from collections.abc import Callable, Generator

import numpy as np

from contract.options.catalog import ServedModel
from contract.options.speech import EspeakOptions
from deployments.speech.audio_encoding import Samples
from deployments.speech.espeak_library import espeak_library
from deployments.speech.synthesizer import Synthesizer, Utterance

LACKS = {
    "instructions": "this engine speaks by rules and takes no instructions",
    "language": "the language is the voice's",
    "seed": "nothing in this engine is random",
}


class EspeakSynthesizer(Synthesizer):
    """eSpeak NG with the voices that the configuration lists."""

    lacks = LACKS

    def __init__(self, model: ServedModel, options: EspeakOptions) -> None:  # noqa: ARG002 - it comes with its voices
        self._library = espeak_library()
        self.sample_rate = self._library.sample_rate
        self._voices = options.voices
        self.voices = list(self._voices)
        for voice in self._voices.values():
            self._library.choose(voice)

    def synthesize(self, utterance: Utterance, cancelled: Callable[[], bool]) -> Generator[Samples]:  # noqa: ARG002
        """One piece: the audio of a sentence is made in some milliseconds, much faster than anybody hears it."""
        pieces = self._library.audio(utterance.text, self._voices[utterance.voice])
        if any(map(np.any, pieces)):  # marks alone become a moment of silence
            yield np.concatenate(pieces)
