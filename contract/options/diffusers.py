"""The options of diffusers. The defaults load every pipeline as it is; what trades quality for speed is off."""

import re
from typing import Any, Literal, Self

import pydantic
from pydantic import Field

from contract.fields import Commit, PositiveFloat, PositiveInt, Strict

SIDES = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
Quality = Literal["low", "medium", "high", "xhigh", "max"]


class Compile(Strict):
    """torch.compile of the denoiser. The first request of each size then waits for the compiler."""

    scope: Literal["repeated_blocks", "whole"] = "repeated_blocks"
    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = "default"
    fullgraph: bool = True
    dynamic: bool | None = Field(None, description="true: one compilation for all sizes, a little slower each")


class FirstBlockCache(Strict):
    """Skip the other blocks of a step where the first one's output has hardly changed since the last step."""

    kind: Literal["first_block"]
    threshold: PositiveFloat = Field(0.05, description="relative change; more is faster and less exact, "
                                    "and one image of a batch then depends a little on the others")  # fmt: skip


class Quantization(Strict):
    """Load the weights in fewer bits, with one of diffusers' quantization backends."""

    backend: str = Field(description="such as bitsandbytes_4bit, bitsandbytes_8bit, torchao, quanto")
    kwargs: dict[str, Any] = Field({}, description="arguments of that backend")
    components: list[str] = Field([], description="parts of the pipeline; none named: every one that can be")


class DiffusersOptions(Strict):
    """`engine_kwargs` of a model entry whose engine is diffusers."""

    # How the pipeline is loaded.
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field("auto", description="bfloat16 on a GPU")
    device: str | None = Field(None, description="cpu, cuda, ...; left out: a GPU where there is one")
    variant: str | None = Field(None, description="of the weights' files, such as fp16")
    quantization: Quantization | None = None
    offload: Literal["none", "model", "sequential"] = Field("none", description="what is not at work waits in RAM")
    vae_tiling: bool = Field(False, description="decode large images in tiles: less memory")
    # How it is run.
    compile: Compile | None = None
    attention_backend: str | None = Field(None, description="one of diffusers' names: native, flash, _flash_3, sage")
    cache: FirstBlockCache | None = None
    max_batch_images: PositiveInt = Field(4, description="of one shape, made together")
    # What is made.
    steps: PositiveInt | None = Field(None, description="of denoising; left out: the pipeline's own number")
    quality: dict[Quality, PositiveInt] = Field({}, description="steps for what a client may ask for; what has none is "
                                                "dropped and reported")  # fmt: skip
    guidance_scale: float | None = Field(None, ge=0, description="left out: the pipeline's own")
    true_cfg_scale: float | None = Field(None, ge=1, description="where the pipeline has it; over 1 it reads "
                                         "negative_prompt and takes twice the time")  # fmt: skip
    default_size: str | None = Field(None, pattern=f"^{SIDES.pattern}$", description="left out: the model's own")
    size_multiple: PositiveInt | None = Field(None, description="of both sides; left out: found in the model")
    min_side: PositiveInt = 64
    max_side: PositiveInt = 2048
    max_pixels: PositiveInt = 2048 * 2048
    max_images: PositiveInt = Field(4, description="in one request")
    edits: bool = Field(
        True,
        description="/v1/images/edits and /v1/images/variations, by pipelines of the same weights; not with `offload`",
    )
    edit_strength: float = Field(
        0.8, ge=0.05, le=1, description="how much of an image is made anew, where a client does not say `strength`"
    )
    long_prompts: Literal["refuse", "truncate"] = Field("refuse", description="422, or cut and reported")
    safety_checker: bool | str = Field(
        False, description="true: the one in the model's folder; a folder or a hub name: that one"
    )
    safety_checker_revision: Commit | None = Field(None, description="the commit of a safety checker's hub name")

    @pydantic.model_validator(mode="after")
    def _sides_in_order(self) -> Self:
        if self.max_side < self.min_side:
            raise ValueError(f"max_side ({self.max_side}) is under min_side ({self.min_side})")
        return self

    def default_sides(self) -> tuple[int, int] | None:
        """Width and height in pixels."""
        sides = SIDES.fullmatch(self.default_size) if self.default_size else None
        return (int(sides[1]), int(sides[2])) if sides else None

    def largest_answer_bytes(self) -> int:
        """All images of a request as base64 of what cannot be compressed: four bytes for a pixel's three colours."""
        return 4 * self.max_images * self.max_pixels

    def steps_of(self, quality: str | None) -> int | None:
        """Steps for a quality that a client asks for; None where the entry has none for it."""
        return next((steps for name, steps in self.quality.items() if name == quality), None)
