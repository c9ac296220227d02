"""The one file that knows Qwen3-TTS in qwen-tts: a language model of audio with named speakers.

Its packages, an older transformers among them, come from a folder of their own: see docs/speech.md.
"""

from collections.abc import Callable, Generator

from contract.options.catalog import ServedModel
from contract.options.speech import QwenTtsOptions
from deployments.speech.audio_encoding import Samples
from deployments.speech.sentences import has_words
from deployments.speech.synthesizer import Synthesizer, Utterance, VoiceError, chosen, own_packages
from deployments.speech.torch import device_of, seeded, stoppable
from deployments.weights import fetched, loading

KIND = "custom_voice"
SMALL = "0b6"
NO_INSTRUCTIONS = "the model of this size takes no instructions"


class QwenTtsSynthesizer(Synthesizer):
    """A Qwen3-TTS CustomVoice model with its speakers as voices."""

    def __init__(self, model: ServedModel, options: QwenTtsOptions) -> None:
        """Load the model. Raises VoiceError, PickleError."""
        import torch

        with own_packages("qwen-tts"):
            from qwen_tts import Qwen3TTSModel

        dtype = options.dtype if options.dtype == "auto" else getattr(torch, options.dtype)
        folder = fetched(model)
        with loading(folder, model.allow) as use_safetensors:
            self._model = Qwen3TTSModel.from_pretrained(
                str(folder),
                device_map=device_of(options.device),
                dtype=dtype,
                attn_implementation=options.attn_implementation,
                use_safetensors=use_safetensors,
            )
        inner = self._model.model
        if inner.tts_model_type != KIND:
            raise VoiceError(f"the model is a {inner.tts_model_type}; choose one with speakers of its own: CustomVoice")
        self._options = options
        self.lacks = {"instructions": NO_INSTRUCTIONS} if inner.tts_model_size == SMALL else {}
        self.sample_rate = int(inner.speech_tokenizer.get_output_sample_rate())
        self._voices = chosen(options.voices, {name: name for name in self._model.get_supported_speakers()})
        self.voices = list(self._voices)
        self.languages = list(self._model.get_supported_languages())
        if options.language not in self.languages:
            raise VoiceError(f"language: the model speaks {', '.join(self.languages)}")

    def synthesize(self, utterance: Utterance, cancelled: Callable[[], bool]) -> Generator[Samples]:
        """One piece: the package streams nothing. A step of the talker can be the last."""
        if not has_words(utterance.text):
            return
        with seeded(utterance.seed), stoppable([self._model.model.talker], cancelled):
            audios, _ = self._model.generate_custom_voice(
                text=utterance.text,
                speaker=self._voices[utterance.voice],
                language=utterance.language or self._options.language,
                instruct=utterance.instructions,
                max_new_tokens=self._options.max_new_tokens,
            )
        yield audios[0]
