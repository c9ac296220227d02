"""The one file that knows eSpeak NG's library: audio by rules, and phonemes for engines that read them.

The library is C and keeps one voice, one rate and one callback for the whole process. So the process has one object of
it, and all calls come from one thread. Texts go to it as UTF-8 in memory, never to a program or a file.
"""

import ctypes
import re
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from deployments.speech.audio_encoding import Samples
from deployments.speech.synthesizer import VoiceError

# From espeak-ng/speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
POSITION_CHARACTER = 1
CHARS_UTF8 = 1
RATE = 1
GO_ON = 0
PHONEMES_IPA = 0x02
PHONEMES_TIED = 0x80  # the tie stands in bits 8 to 23

WORDS_PER_MINUTE = 160
BUFFER_MS = 200
# Names of languages around a word of another one.
LANGUAGE_FLAGS = re.compile(r"\([^)]*\)")
# Punctuation that ends a clause, as Latin scripts write it.
MARKS = {mark: mark for mark in ".,;:!?\u2026\u2014"} | {
    "\u2013": "\u2014", "\u3002": ".", "\u3001": ",", "\uff0c": ",", "\uff01": "!", "\uff1f": "?", "\uff1b": ";",
    "\uff1a": ":", "\u0964": ".", "\u060c": ",", "\u061b": ";", "\u061f": "?",
}  # fmt: skip
CLOSING = " \t\n\"'\u201d\u2019\u201c\u2018\u00bb\u00ab)]}(["

Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Clause(NamedTuple):
    """What is said without a pause, and the mark before the pause."""

    phonemes: str  # of the International Phonetic Alphabet
    mark: str  # one of the values of MARKS; empty where nothing ends the clause


class EspeakLibrary:
    """eSpeak NG in this process."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate = int(self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MS, data, 0))
        self._library.espeak_SetParameter(RATE, WORDS_PER_MINUTE, 0)
        self._pieces: list[Samples] = []
        self._callback = Callback(self._take)  # kept: the library calls it for as long as it lives
        self._library.espeak_SetSynthCallback(self._callback)

    def choose(self, voice: str) -> None:
        """The voice of what follows, by the names of `espeak-ng --voices`. Raises VoiceError."""
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise VoiceError(f"eSpeak NG has no voice {voice!r}; `espeak-ng --voices` lists them, such as en-us")

    def audio(self, text: str, voice: str) -> list[Samples]:
        """The pieces of a sentence's audio."""
        self.choose(voice)
        self._pieces = []
        encoded = _encoded(text)
        failed = self._library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded) + 1), 0, POSITION_CHARACTER, 0, CHARS_UTF8, None, None
        )
        if failed:
            raise RuntimeError("eSpeak NG did not take the text")
        return self._pieces

    def clauses(self, text: str, voice: str, tie: str = "") -> list[Clause]:
        """What is to be said, clause by clause. `tie` stands between the letters of one phoneme, as in a diphthong."""
        self.choose(voice)
        mode = PHONEMES_IPA | (PHONEMES_TIED | ord(tie) << 8 if tie else 0)
        encoded = ctypes.create_string_buffer(_encoded(text))
        start = ctypes.addressof(encoded)
        place, read = ctypes.c_void_p(start), 0
        found = []
        while place.value is not None:
            phonemes = self._library.espeak_TextToPhonemes(ctypes.byref(place), CHARS_UTF8, mode).decode()
            end = len(encoded.value) if place.value is None else place.value - start
            clause = encoded.raw[read:end].decode(errors="ignore")
            read = end
            # The library looks one letter ahead, so that what it has read ends in the first one of the next clause.
            mark = _mark(clause if place.value is None else clause[:-1])
            found.append(Clause(LANGUAGE_FLAGS.sub("", phonemes).strip(), mark))
        return [clause for clause in found if clause.phonemes]

    def _take(self, samples: Any, count: int, _: object) -> int:
        """Called by the library with each piece of audio; with none at the end."""
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32) / np.float32(32768))
        return GO_ON


@cache
def espeak_library() -> EspeakLibrary:
    """The process's one."""
    return EspeakLibrary()


def _encoded(text: str) -> bytes:
    return text.replace("\0", " ").encode()


def _mark(clause: str) -> str:
    return MARKS.get(clause.rstrip(CLOSING)[-1:], "")
