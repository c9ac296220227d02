"""The one file that knows Bark in transformers: three language models of audio and a codec, a sentence at a time."""

from collections.abc import Callable, Generator
from typing import Any

from contract.options.catalog import ServedModel
from contract.options.speech import BarkOptions
from deployments.speech.audio_encoding import Samples
from deployments.speech.sentences import has_words
from deployments.speech.synthesizer import Synthesizer, Utterance, chosen
from deployments.speech.torch import device_of, seeded, stoppable
from deployments.weights import fetched, loading

AS_FIRST_PUBLISHED = "*.pt"  # the same weights once more, which transformers does not read
NO_PRESET = "default"
LACKS = {
    "instructions": "the model takes no instructions; it reads marks such as [laughs] in the input",
    "language": "the model hears the language from the input",
}
LONGEST_SENTENCE = 150  # more does not fit into its 13 s, and would be left out


class BarkSynthesizer(Synthesizer):
    """A Bark model with the presets of its folder as voices."""

    lacks = LACKS

    def __init__(self, model: ServedModel, options: BarkOptions) -> None:
        """Load the model. Raises VoiceError, PickleError."""
        from transformers import BarkModel, BarkProcessor

        # A folder, because the processor would read the presets of a hub name from its newest commit.
        folder = fetched(model, without=[AS_FIRST_PUBLISHED])
        self._processor = BarkProcessor.from_pretrained(folder)
        with loading(folder, model.allow) as use_safetensors:
            bark = BarkModel.from_pretrained(folder, use_safetensors=use_safetensors, dtype=options.dtype)
        self._device = device_of(options.device)
        self._model = bark.to(self._device).eval()
        if options.min_eos_p is not None:
            bark.generation_config.semantic_config["min_eos_p"] = options.min_eos_p
        self.sample_rate = int(bark.generation_config.sample_rate)
        presets = {name: name for name in self._processor.available_voice_presets}
        self._voices: dict[str, str | None] = chosen(options.voices, presets, "preset") or {NO_PRESET: None}
        self.voices = list(self._voices)
        self._prompts = {preset: self._prompt(preset) for preset in set(self._voices.values()) if preset is not None}

    def longest_sentence(self, language: str | None) -> int:  # noqa: ARG002
        return LONGEST_SENTENCE

    def synthesize(self, utterance: Utterance, cancelled: Callable[[], bool]) -> Generator[Samples]:
        """One piece, of at most 13 s. A step of any of the models can be the last."""
        import torch

        if not has_words(utterance.text):
            return
        preset = self._voices[utterance.voice]
        read = self._processor(utterance.text).to(self._device)
        prompt = None if preset is None else self._prompts[preset]
        steps = (self._model.semantic, self._model.coarse_acoustics, self._model.fine_acoustics)
        with seeded(utterance.seed), torch.inference_mode(), stoppable(steps, cancelled):
            audio = self._model.generate(**read, history_prompt=prompt)
        yield audio[0].float().cpu().numpy()

    def _prompt(self, preset: str) -> Any:
        """The audio that a preset goes on from. It is a name of the model's own list, never a path of a client's."""
        return self._processor("", voice_preset=preset)["history_prompt"].to(self._device)
