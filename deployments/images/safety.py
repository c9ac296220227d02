"""Whether an image may be sent: Stable Diffusion's safety checker, a CLIP that knows what it must block.

The pipelines' own use of it turns an image black. Here it judges images of every pipeline and changes none.
"""

from pathlib import Path
from typing import Any

from contract.options.catalog import ServedModel
from contract.options.diffusers import DiffusersOptions
from deployments.weights import loading


class SafetyChecker:
    """A checker with its weights."""

    def __init__(self, model: ServedModel, options: DiffusersOptions) -> None:
        """Load the checker that `safety_checker` names: one in the folders of the model itself, or another's."""
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
        from transformers import CLIPImageProcessorPil

        place, own = options.safety_checker, options.safety_checker is True
        source = model.source if own else str(place)
        revision = model.revision if own else options.safety_checker_revision
        nested = own or (Path(source) / "safety_checker").is_dir()
        folders = ("feature_extractor", "safety_checker") if nested else ("", "")
        self._processor = CLIPImageProcessorPil.from_pretrained(source, revision=revision, subfolder=folders[0])
        with loading(source, model.allow) as use_safetensors:
            self._checker = StableDiffusionSafetyChecker.from_pretrained(
                source, revision=revision, subfolder=folders[1], use_safetensors=use_safetensors
            ).eval()

    def blocked(self, images: list[Any]) -> list[bool]:
        """For each PIL image whether the checker found what it looks for."""
        import numpy as np
        import torch

        pixels = self._processor(images=[image.convert("RGB") for image in images], return_tensors="pt").pixel_values
        with torch.inference_mode():
            _, found = self._checker(clip_input=pixels, images=[np.zeros(0)] * len(images))
        return [bool(one) for one in found]
