"""Piper's voices: VITS models that read eSpeak NG's phonemes, each a file of its own for ONNX Runtime.

The format is that of https://github.com/OHF-Voice/piper1-gpl: NAME.onnx, NAME.onnx.json and a MODEL_CARD.
"""

import glob
import json
import unicodedata
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from contract.options.catalog import ServedModel
from contract.options.speech import PiperOptions
from deployments.speech.audio_encoding import Samples
from deployments.speech.espeak_library import Clause, espeak_library
from deployments.speech.onnx import OnnxGraph
from deployments.speech.sentences import has_words
from deployments.speech.synthesizer import Synthesizer, Utterance, VoiceError, chosen
from deployments.speech.voice_license import CARD, check_accepted, license_of
from deployments.weights import fetched

LACKS = {
    "instructions": "the model takes no instructions",
    "language": "the language is the voice's",
    "seed": "ONNX Runtime seeds the random numbers of a model when it loads it, and not for each request",
}
PAD, BEGIN, END = "_", "^", "$"
# Marks that Piper's voices have no symbol for, as eSpeak NG reads them.
INSTEAD = {"\u2026": ";", "\u2014": ";"}
# Not as loud as this: silence.
SILENCE = 1e-4


class Speaker(NamedTuple):
    """One who speaks: a voice, or one of the several in its file."""

    file: Path
    number: int | None  # of a file with several


class PiperSynthesizer(Synthesizer):
    """The voices of a folder, all that may be asked for in memory."""

    lacks = LACKS

    def __init__(self, model: ServedModel, options: PiperOptions) -> None:
        """Load the voices. Raises VoiceError, LicenseError, PackagesError."""
        folder = _folder(model, options)
        files = {file.stem: file for file in sorted(folder.rglob("*.onnx")) if _config_of(file).is_file()}
        if not files:
            raise VoiceError(f"{model.source} holds no voice of Piper: NAME.onnx with NAME.onnx.json beside it")
        speakers = dict(_speakers(files.values()))
        self._speakers: dict[str, Speaker] = chosen(options.voices, speakers, "voice")
        self.voices = list(self._speakers)
        folders = [file.parent for file in files.values()]
        self._voices: dict[Path, PiperVoice] = {}
        for file in dict.fromkeys(speaker.file for speaker in self._speakers.values()):
            license_ = license_of(file, alone=folders.count(file.parent) == 1)
            check_accepted(file.stem, license_, options.accept_license)
            self._voices[file] = PiperVoice(file, options)
        self.sample_rate = _one_rate(self._voices)

    def synthesize(self, utterance: Utterance, cancelled: Callable[[], bool]) -> Generator[Samples]:  # noqa: ARG002
        """One piece. The model runs once for a sentence, too shortly to be stopped on the way."""
        speaker = self._speakers[utterance.voice]
        audio = self._voices[speaker.file].say(utterance.text, speaker.number)
        if len(audio):
            yield audio


class PiperVoice:
    """One file."""

    def __init__(self, file: Path, options: PiperOptions) -> None:
        """Load it. Raises VoiceError, PackagesError."""
        config = _read(file)
        self._phoneme_type = config.get("phoneme_type", "espeak")
        if self._phoneme_type not in ("espeak", "text"):
            raise VoiceError(
                f"voices: {file.stem} reads {self._phoneme_type}, which nothing here makes of a text; choose a voice "
                "whose phoneme_type is espeak or text"
            )
        self._espeak_voice = config.get("espeak", {}).get("voice", "")
        if self._phoneme_type == "espeak":
            espeak_library().choose(self._espeak_voice)
        self._ids: dict[str, list[int]] = config["phoneme_id_map"]
        self.sample_rate = int(config["audio"]["sample_rate"])
        usual = config.get("inference", {})
        noise, rhythm = options.noise_scale, options.noise_scale_duration
        self._scales = [
            usual.get("noise_scale", 0.667) if noise is None else noise,
            usual.get("length_scale", 1.0),
            usual.get("noise_w", 0.8) if rhythm is None else rhythm,
        ]
        self._graph = OnnxGraph(file, options)

    def say(self, text: str, speaker: int | None) -> Samples:
        """The audio of a sentence, its loudest sample at full scale as Piper has it; none where it has no words."""
        symbols = self._symbols(text) if has_words(text) else ""
        if not any(map(str.isalpha, symbols)):
            return np.zeros(0, np.float32)
        ids = self._numbers(symbols)
        more = {} if speaker is None else {"sid": [speaker]}
        audio = self._graph.run(input=[ids], input_lengths=[len(ids)], scales=self._scales, **more)
        loudest = float(np.abs(audio).max(initial=0.0))
        return audio / np.float32(loudest) if loudest > SILENCE else audio

    def _symbols(self, text: str) -> str:
        """Phonemes and marks, or the letters themselves, of those that the voice knows."""
        if self._phoneme_type == "text":
            written = text
        else:
            written = " ".join(map(self._written, espeak_library().clauses(text, self._espeak_voice)))
        return "".join(symbol for symbol in unicodedata.normalize("NFD", written) if symbol in self._ids)

    def _written(self, clause: Clause) -> str:
        mark = clause.mark if clause.mark in self._ids else INSTEAD.get(clause.mark, "")
        return clause.phonemes + mark

    def _numbers(self, symbols: Iterable[str]) -> list[int]:
        """What the model reads: each symbol, padded, between a beginning and an end."""
        pad = self._ids[PAD]
        numbers = [*self._ids[BEGIN], *pad]
        for symbol in symbols:
            numbers += [*self._ids[symbol], *pad]
        return [*numbers, *self._ids[END]]


def _folder(model: ServedModel, options: PiperOptions) -> Path:
    """The folder with the voices; of a hub name, which may have hundreds, only those that `voices` names."""
    if Path(model.source).is_dir():
        return Path(model.source)
    if not options.voices:
        raise VoiceError(
            f"voices: {model.source} may hold hundreds of voices; name those to serve, such as "
            "`voices: {alloy: en_US-lessac-medium}`"
        )
    return fetched(model, only=_files_of({voice.partition(":")[0] for voice in options.voices.values()}))


def _files_of(names: Iterable[str]) -> Sequence[str]:
    """Patterns of a voice's three files in rhasspy/piper-voices: en/en_US/joe/medium/en_US-joe-medium.onnx, ..."""
    patterns = []
    for name in sorted(names):
        escaped = glob.escape(name)
        patterns += [f"{place}{escaped}.onnx{end}" for place in ("", "*/") for end in ("", ".json")]
        patterns += [CARD, f"*/{'/'.join(escaped.split('-')[1:])}/{CARD}"]
    return patterns


def _speakers(files: Iterable[Path]) -> Generator[tuple[str, Speaker]]:
    """Whom each name means: the file's own, or with a colon a speaker's of several."""
    for file in files:
        config = _read(file)
        count = int(config.get("num_speakers", 1))
        if count <= 1:
            yield file.stem, Speaker(file, None)
            continue
        known: dict[str, int] = config.get("speaker_id_map") or {str(number): number for number in range(count)}
        for name, number in known.items():
            yield f"{file.stem}:{name}", Speaker(file, number)


def _one_rate(voices: dict[Path, PiperVoice]) -> int:
    """The sample rate of all. Raises VoiceError."""
    rates = {voice.sample_rate for voice in voices.values()}
    if len(rates) > 1:
        of_each = ", ".join(f"{file.stem} has {voice.sample_rate}" for file, voice in voices.items())
        raise VoiceError(
            f"voices: {of_each} Hz; the voices of one entry need one sample rate, so make an entry for each"
        )
    return rates.pop()


def _config_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _read(file: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(_config_of(file).read_text(encoding="utf-8"))
    return config
