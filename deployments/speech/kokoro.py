"""Kokoro: a small StyleTTS 2 whose voices are tables of style vectors, read by ONNX Runtime.

The format is that of onnx-community/Kokoro-82M-v1.0-ONNX, and of the files of thewh1teagle/kokoro-onnx.
"""

import json
import zipfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from contract.options.catalog import ServedModel
from contract.options.speech import KokoroOptions
from deployments.speech.audio_encoding import Samples
from deployments.speech.espeak_library import espeak_library
from deployments.speech.kokoro_phonemes import ESPEAK_VOICES, kokoro_phonemes
from deployments.speech.onnx import OnnxGraph
from deployments.speech.sentences import has_words
from deployments.speech.synthesizer import Synthesizer, Utterance, VoiceError, chosen
from deployments.weights import fetched

RATE = 24_000
LONGEST = 510  # tokens that the model reads at once, the two at its ends not counted
STYLE = 256  # numbers of a style vector; a voice has one for each number of tokens
END = 0
USUAL_FILE = "onnx/model.onnx"
VOCABULARIES = ("config.json", "tokenizer.json")
LANGUAGES = {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr", "h": "hi", "i": "it", "p": "pt-br"}
UNREADABLE = {"j": "Japanese", "z": "Chinese"}
LACKS = {
    "instructions": "the model takes no instructions",
    "language": "the language is the voice's",
    "seed": "ONNX Runtime seeds the random numbers of a model when it loads it, and not for each request",
}


class KokoroVoice(NamedTuple):
    """One voice."""

    styles: Samples  # rows of STYLE, the first for one token
    language: str


class KokoroSynthesizer(Synthesizer):
    """A Kokoro model with the voices of its folder."""

    lacks = LACKS
    sample_rate = RATE

    def __init__(self, model: ServedModel, options: KokoroOptions) -> None:
        """Load the model. Raises VoiceError, PackagesError."""
        folder = _folder(model, options.file)
        self._vocabulary = _vocabulary(folder)
        styles = dict(_styles(folder))
        if not styles:
            raise VoiceError(f"{model.source} holds no voices of Kokoro: voices/NAME.bin, or an archive voices*.npz")
        named = options.voices or {name: name for name in styles if options.language or name[:1] not in UNREADABLE}
        if not named:
            raise VoiceError(
                f"voices: all of {model.source} are Japanese or Chinese. {_unreadable(next(iter(styles)))}"
            )
        self._voices = {
            voice: KokoroVoice(rows, options.language or _language(named[voice]))
            for voice, rows in chosen(named, styles, "voice").items()
        }
        self.voices = list(self._voices)
        self._graph = OnnxGraph(_file(folder, options.file), options)
        self._ids = "input_ids" if "input_ids" in self._graph.inputs else "tokens"
        for language in {voice.language for voice in self._voices.values()}:
            espeak_library().choose(ESPEAK_VOICES[language])

    def synthesize(self, utterance: Utterance, cancelled: Callable[[], bool]) -> Generator[Samples]:  # noqa: ARG002
        """One piece, or several where a sentence is more tokens than the model reads at once. None can be stopped."""
        if not has_words(utterance.text):
            return
        voice = self._voices[utterance.voice]
        phonemes = kokoro_phonemes(utterance.text, voice.language)
        for tokens in self._tokens(phonemes):
            style = voice.styles[min(len(tokens), len(voice.styles)) - 1]
            yield self._graph.run(**{self._ids: [[END, *tokens, END]]}, style=[style], speed=[1.0])

    def _tokens(self, phonemes: str) -> Iterator[list[int]]:
        """The numbers of what the model knows of `phonemes`, cut at the last blank where they are too many."""
        known = "".join(phoneme for phoneme in phonemes if phoneme in self._vocabulary).strip()
        while known:
            blank = known.rfind(" ", 0, LONGEST + 1) if len(known) > LONGEST else -1
            part = known[: blank if blank > 0 else LONGEST]
            yield [self._vocabulary[phoneme] for phoneme in part]
            known = known[len(part) :].strip()


def _folder(model: ServedModel, file: str | None) -> Path:
    """The model's folder; of a hub name, one file of the many precisions, and the voices, which are no pickles."""
    wanted = [f"{file or USUAL_FILE}*", *VOCABULARIES, "voices/*.bin", "voices*.bin", "voices*.npz"]
    return fetched(model, only=wanted, plain={".bin"})


def _file(folder: Path, named: str | None) -> Path:
    """The model's file. Raises VoiceError."""
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.onnx"))
    wanted = named or (USUAL_FILE if USUAL_FILE in found or len(found) != 1 else found[0])
    if wanted not in found:
        raise VoiceError(f"file: {folder.name} has no {wanted}; it has {', '.join(found) or 'no .onnx at all'}")
    return folder / wanted


def _vocabulary(folder: Path) -> dict[str, int]:
    """The number of each phoneme. Raises VoiceError."""
    for name in VOCABULARIES:
        if (folder / name).is_file():
            content: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
            found: dict[str, int] = content.get("vocab") or content.get("model", {}).get("vocab") or {}
            if found:
                return found
    raise VoiceError(
        f"{folder.name} has no vocabulary: put config.json of hexgrad/Kokoro-82M, or tokenizer.json of "
        "onnx-community/Kokoro-82M-v1.0-ONNX, beside the model"
    )


def _styles(folder: Path) -> Iterator[tuple[str, Samples]]:
    """Each voice and its rows, from archives of numpy, or from files of plain float32. Raises VoiceError."""
    for path in sorted([*folder.glob("voices*.npz"), *folder.glob("voices*.bin"), *folder.glob("voices/*.bin")]):
        if zipfile.is_zipfile(path):
            with np.load(path, allow_pickle=False) as archive:
                for name in archive.files:
                    yield name, _rows(name, archive[name])
        else:
            yield path.stem, _rows(path.stem, np.fromfile(path, np.float32))


def _rows(name: str, numbers: np.ndarray[Any, Any]) -> Samples:
    if not numbers.size or numbers.size % STYLE or numbers.dtype != np.float32:
        raise VoiceError(f"voices: {name}: its file is no table of rows of {STYLE} float32 numbers")
    return numbers.reshape(-1, STYLE)


def _language(voice: str) -> str:
    """What a voice speaks, by the first letter of its name. Raises VoiceError."""
    language = LANGUAGES.get(voice[:1])
    if language is None:
        raise VoiceError(f"voices: {_unreadable(voice)}")
    return language


def _unreadable(voice: str) -> str:
    spoken = UNREADABLE.get(voice[:1], "a language that its name does not tell")
    return (
        f"{voice} speaks {spoken}, and eSpeak NG does not make the phonemes that Kokoro reads there; choose a voice of "
        f"another language, or with `language` let all of them speak one of {', '.join(LANGUAGES.values())}"
    )
