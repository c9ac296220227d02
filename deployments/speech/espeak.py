"""The one file that knows eSpeak NG: speech by rules, small and intelligible, with nothing to download.

The library is C and keeps one voice, one rate and one callback for the whole process; so all of it is called from one
thread. Texts go to it as UTF-8 in memory, never to a program or a file.
"""

import ctypes
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from contract.options.catalog import ServedModel
from contract.options.speech import EspeakOptions
from deployments.speech.audio_encoding import Samples
from deployments.speech.synthesizer import Synthesizer, Utterance, VoiceError

# From espeak-ng/speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
POSITION_CHARACTER = 1
CHARS_UTF8 = 1
RATE = 1
GO_ON = 0

WORDS_PER_MINUTE = 160
BUFFER_MS = 200
LACKS = {
    "instructions": "this engine speaks by rules and takes no instructions",
    "language": "the language is the voice's",
    "seed": "nothing in this engine is random",
}

Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class EspeakSynthesizer(Synthesizer):
    """eSpeak NG with the voices that the configuration lists."""

    lacks = LACKS

    def __init__(self, model: ServedModel, options: EspeakOptions) -> None:  # noqa: ARG002 - it comes with its voices
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate = int(self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MS, data, 0))
        self._library.espeak_SetParameter(RATE, WORDS_PER_MINUTE, 0)
        self._pieces: list[Samples] = []
        self._callback = Callback(self._take)  # kept: the library calls it for as long as it lives
        self._library.espeak_SetSynthCallback(self._callback)
        self._voices = options.voices
        self.voices = list(self._voices)
        for voice in self._voices.values():
            self._choose(voice)

    def synthesize(self, utterance: Utterance, cancelled: Callable[[], bool]) -> Generator[Samples]:  # noqa: ARG002
        """One piece: the audio of a sentence is made in some milliseconds, much faster than anybody hears it."""
        self._choose(self._voices[utterance.voice])
        self._pieces = []
        text = utterance.text.replace("\0", " ").encode()
        failed = self._library.espeak_Synth(
            text, ctypes.c_size_t(len(text) + 1), 0, POSITION_CHARACTER, 0, CHARS_UTF8, None, None
        )
        if failed:
            raise RuntimeError("eSpeak NG did not take the text")
        if any(map(np.any, self._pieces)):  # marks alone become a moment of silence
            yield np.concatenate(self._pieces)

    def _choose(self, voice: str) -> None:
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise VoiceError(f"eSpeak NG has no voice {voice!r}; `espeak-ng --voices` lists them, such as en-us")

    def _take(self, samples: Any, count: int, _: object) -> int:
        """Called by the library with each piece of audio; with none at the end."""
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32) / np.float32(32768))
        return GO_ON
