"""The one file that knows XTTS in coqui-tts: a language model of audio that streams as it goes, in anybody's voice.

Its packages come from a folder of their own: see docs/speech.md.
"""

import importlib.util
import os
from collections.abc import Callable, Generator
from typing import Any

from contract.options.catalog import ServedModel
from contract.options.speech import XttsOptions
from contract.project import in_project
from deployments.speech.audio_encoding import Samples
from deployments.speech.sentences import has_words, sentences
from deployments.speech.synthesizer import Synthesizer, Utterance, VoiceError, own_packages
from deployments.speech.torch import device_of, seeded, stoppable
from deployments.weights import HINT, PickleError, fetched

LACKS = {"instructions": "the model takes no instructions; a recording of the voice decides how it speaks"}
FILES = ("config.json", "model.pth", "vocab.json", "speakers_xtts.pth")
READERS = {"zh": "pypinyin", "ja": "cutlet"}
DEFAULT_LONGEST = 200  # characters; the tokenizer knows better for most languages


class XttsSynthesizer(Synthesizer):
    """An XTTS model with its speakers, or recordings, as voices."""

    lacks = LACKS

    def __init__(self, model: ServedModel, options: XttsOptions) -> None:
        """Load the model, whose weights are always pickles. Raises VoiceError, PickleError."""
        if "pickle" not in model.allow:
            raise PickleError(f"{FILES[1]} is a pickle. {HINT}")
        with own_packages("xtts"):
            from TTS.tts.configs.xtts_config import XttsConfig
            from TTS.tts.models.xtts import Xtts

        folder = fetched(model, only=FILES)
        config = XttsConfig()
        config.load_json(str(folder / "config.json"))
        self._model = Xtts(config)
        self._model.load_checkpoint(config, checkpoint_dir=str(folder))
        self._device = device_of(options.device)
        self._model.to(self._device).eval()
        self._options = options
        self.sample_rate = int(config.model_args.output_sample_rate)
        self._sampling = {name: config[name] for name in ("length_penalty", "repetition_penalty", "top_k", "top_p")}
        self._sampling["temperature"] = options.temperature or config.temperature
        self.languages = [language for language in config.languages if _can_be_read(language)]
        if options.language not in self.languages:
            raise VoiceError(f"language: {options.language!r} is none of {', '.join(self.languages)}")
        self._voices = self._conditioned(options.voices)
        self.voices = list(self._voices)

    def longest_sentence(self, language: str | None) -> int:
        code = (language or self._options.language).partition("-")[0]
        return int(self._model.tokenizer.char_limits.get(code, DEFAULT_LONGEST))

    def synthesize(self, utterance: Utterance, cancelled: Callable[[], bool]) -> Generator[Samples]:
        """A piece for every `chunk_tokens`. The model keeps its place in one sentence, so none may begin in between."""
        if not has_words(utterance.text):
            return
        language = utterance.language or self._options.language
        latents, embedding = self._voices[utterance.voice]
        with seeded(utterance.seed), stoppable([self._model.gpt.gpt_inference], cancelled):
            for part in self._parts(utterance.text, language):
                for audio in self._model.inference_stream(
                    part, language, latents, embedding, stream_chunk_size=self._options.chunk_tokens, **self._sampling
                ):
                    yield audio.float().cpu().numpy()

    def _parts(self, text: str, language: str) -> list[str]:
        """`text`, cut where it is more tokens than the model reads: numbers are spelled out, and become long."""
        tokens = self._model.tokenizer.encode(text.strip().lower(), lang=language)
        if len(tokens) < self._model.args.gpt_max_text_tokens or len(text) == 1:
            return [text]
        return [part for half in sentences(text, (len(text) + 1) // 2) for part in self._parts(half, language)]

    def _conditioned(self, named: dict[str, str]) -> dict[str, tuple[Any, Any]]:
        """What the model must know of each voice: from its list of speakers, or by listening to a recording."""
        manager = self._model.speaker_manager
        speakers: dict[str, Any] = manager.speakers if manager else {}
        if not named and not speakers:
            raise VoiceError("voices: the model's folder has no speakers_xtts.pth; name recordings")
        return {
            voice: self._condition(voice, meant, speakers)
            for voice, meant in (named or dict.fromkeys(speakers)).items()
        }

    def _condition(self, voice: str, meant: str | None, speakers: dict[str, Any]) -> tuple[Any, Any]:
        known = speakers.get(meant or voice)
        if known is not None:
            latents, embedding = known.values()  # by their order, as the package does: their names have changed
            return latents, embedding
        recording = in_project(meant or voice)
        if not os.path.isfile(recording):
            raise VoiceError(
                f"voices: {voice}: {meant!r} is neither a speaker of the model nor a file; "
                f"it has {', '.join(speakers) or 'no speakers'}"
            )
        latents, embedding = self._model.get_conditioning_latents(audio_path=recording)
        return latents, embedding


def _can_be_read(language: str) -> bool:
    """Two languages need a package each to be read aloud; that of Japanese is large, and not in xtts.txt."""
    package = READERS.get(language.partition("-")[0])
    return package is None or importlib.util.find_spec(package) is not None
