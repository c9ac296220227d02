"""The one file that knows VITS and MMS-TTS in transformers: small models that synthesize a sentence at once."""

from collections.abc import Callable, Generator
from typing import Any

from contract.options.catalog import ServedModel
from contract.options.speech import VitsOptions
from deployments.speech.audio_encoding import Samples
from deployments.speech.synthesizer import Synthesizer, Utterance, VoiceError, chosen
from deployments.speech.torch import device_of, seeded
from deployments.weights import loading

LACKS = {"instructions": "the model takes no instructions", "language": "the model speaks one language"}


class VitsSynthesizer(Synthesizer):
    """A VITS model with its speakers as voices."""

    lacks = LACKS

    def __init__(self, model: ServedModel, options: VitsOptions) -> None:
        """Load the model. Raises VoiceError, PickleError."""
        from transformers import VitsModel, VitsTokenizer

        self._tokenizer = VitsTokenizer.from_pretrained(model.source, revision=model.revision)
        _refuse_what_would_be_lost(self._tokenizer)
        with loading(model.source, model.allow) as use_safetensors:
            vits = VitsModel.from_pretrained(
                model.source, revision=model.revision, use_safetensors=use_safetensors, dtype=options.dtype
            )
        self._device = device_of(options.device)
        self._model = vits.to(self._device).eval()
        if options.noise_scale is not None:
            self._model.noise_scale = options.noise_scale
        if options.noise_scale_duration is not None:
            self._model.noise_scale_duration = options.noise_scale_duration
        self.sample_rate = int(vits.config.sampling_rate)
        speakers = {number: number for number in range(max(1, vits.config.num_speakers))}
        self._voices = {str(voice): number for voice, number in chosen(options.voices, speakers).items()}
        self.voices = list(self._voices)

    def synthesize(self, utterance: Utterance, cancelled: Callable[[], bool]) -> Generator[Samples]:  # noqa: ARG002
        """One piece. The model runs once for a sentence, too shortly to be stopped on the way."""
        import torch

        text, _ = self._tokenizer.prepare_for_tokenization(utterance.text)
        if not text.strip():
            return
        tokens = self._tokenizer(utterance.text, return_tensors="pt").to(self._device)
        speaker = self._voices[utterance.voice] if self._model.config.num_speakers > 1 else None
        with seeded(utterance.seed), torch.inference_mode():
            audio = self._model(**tokens, speaker_id=speaker).waveform
        yield audio[0].float().cpu().numpy()


def _refuse_what_would_be_lost(tokenizer: Any) -> None:
    """Without these packages the tokenizer fails at the first text, or leaves its letters out in silence."""
    from transformers.utils import is_phonemizer_available, is_uroman_available

    if tokenizer.phonemize and not is_phonemizer_available():
        raise VoiceError("this model reads phonemes: install the package phonemizer, or choose an MMS model")
    if tokenizer.is_uroman and not is_uroman_available():
        raise VoiceError("this model reads its language in Latin letters: install the package uroman")
