"""Whether an image may be sent: Stable Diffusion's safety checker, a CLIP that knows what it must block.

The pipelines' own use of it turns an image black. Here it judges images of every pipeline and changes none.
"""

from pathlib import Path
from typing import Any


class SafetyChecker:
    """A checker with its weights."""

    def __init__(self, place: bool | str, model: str) -> None:
        """`place` is a folder or a hub name with a checker; true: what stands in the folders of `model` itself."""
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
        from transformers import CLIPImageProcessorPil

        where = model if place is True else str(place)
        nested = place is True or (Path(where) / "safety_checker").is_dir()
        self._processor = CLIPImageProcessorPil.from_pretrained(
            where, **({"subfolder": "feature_extractor"} if nested else {})
        )
        self._checker = StableDiffusionSafetyChecker.from_pretrained(
            where, **({"subfolder": "safety_checker"} if nested else {})
        ).eval()

    def blocked(self, images: list[Any]) -> list[bool]:
        """For each PIL image whether the checker found what it looks for."""
        import numpy as np
        import torch

        pixels = self._processor(images=[image.convert("RGB") for image in images], return_tensors="pt").pixel_values
        with torch.inference_mode():
            _, found = self._checker(clip_input=pixels, images=[np.zeros(0)] * len(images))
        return [bool(one) for one in found]
