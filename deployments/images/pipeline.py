"""The one file that knows diffusers: a pipeline that makes images of texts, loaded and run as its options say.

A pipeline object keeps state while it runs, so all its work is done by one caller at a time.
"""

import copy
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from contract.options.catalog import ServedModel
from contract.options.diffusers import DiffusersOptions, Quantization
from contract.profile import Profile
from deployments.images.editing import Beginning, Given, editing_pipelines, most_references, schedule
from deployments.images.latents import decoded
from deployments.images.safety import SafetyChecker
from deployments.imports import importing
from deployments.weights import loading

logger = logging.getLogger("portico.images")

WARM_UP_STEPS = 2
COMPILED_SHAPES = 64
USUAL_SIDE = 1024
SAME_IMAGE = 2.0  # of 255, the mean difference of a preview of the last latents from the image itself
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3", "prior_tokenizer")
MAX_PROMPT_TOKENS = 8192  # where a tokenizer knows no bound
NO_PREVIEWS = "this pipeline's unfinished images cannot be decoded"
NO_QUALITY = "the operator has set no steps for it"
NO_TRANSPARENCY = "the model makes opaque images only"
NO_STRENGTH = "this pipeline looks at the images and makes everything anew"
NO_NEGATIVE_PROMPT = "not supported by the model as it is configured"


class PipelineError(ValueError):
    """The model is there and cannot serve text to image."""


class Shape(NamedTuple):
    """What the images of one batch have in common."""

    width: int
    height: int
    steps: int
    negative: bool  # whether a negative prompt is read
    beginning: Beginning = "noise"
    strength: float = 1.0  # how much of what it begins with is made anew


class Prompt(NamedTuple):
    """What is particular to one image."""

    text: str
    negative: str
    seed: int
    given: Given | None = None  # what the image begins with, where it is no noise


TRIAL = Prompt("ready?", "", 0)


class Stopped(Exception):
    """Raised by a watcher to stop a pipeline at once."""


# (steps done, a way to decode the images as they are) -> None; may raise Stopped
Watcher = Callable[[int, Callable[[], list[Any]]], None]


class DiffusionModel:
    """A loaded pipeline."""

    def __init__(self, model: ServedModel, options: DiffusersOptions) -> None:
        """Load the pipeline. Raises PipelineError, PickleError."""
        self.options = options
        self._pipe = _loaded(model, options)
        self._takes = _takes(self._pipe)
        if not {"prompt", "num_inference_steps"} <= self._takes.keys():
            raise PipelineError(f"{type(self._pipe).__name__} makes no images from text")
        self.size_multiple = options.size_multiple or _size_multiple(self._pipe)
        self.default_sides = options.default_sides() or _default_sides(self._pipe, options, self.size_multiple)
        self.default_steps: int = options.steps or self._takes["num_inference_steps"].default
        self.prompt_limit, tokenizer = _prompt_limit(self._pipe, self._takes)
        self._tokenizer = copy.deepcopy(tokenizer)  # it counts while the pipeline uses its own, in another thread
        self._safety = SafetyChecker(model, options) if options.safety_checker else None
        self._has_previews: bool | None = None  # not known before the first trial
        # Hooks that move a pipeline's parts to the GPU are of one pipeline.
        editing = editing_pipelines(self._pipe) if options.edits and options.offload == "none" else {}
        self._pipes: dict[Beginning, Any] = {"noise": self._pipe, **editing}
        self._input_images = 0  # of how many one is made, not known before the first trial

    def try_out(self) -> None:
        """Make a small image for nobody, and at the first time find out whether unfinished ones can be decoded. Blocks.

        Raises what the pipeline raises, and PipelineError where it makes another size than was asked for.
        """
        shape = Shape(*self.default_sides, WARM_UP_STEPS, negative=False)
        previews: list[Any] = []

        def watch(done: int, preview: Callable[[], list[Any]]) -> None:
            if done == WARM_UP_STEPS and self._has_previews is None:
                with suppress(Exception):  # whatever a pipeline of an unknown family makes of it
                    previews.extend(preview())

        (image,) = self.generate(shape, [TRIAL], watch)
        if image.size != self.default_sides:
            expected, made = ("x".join(map(str, sides)) for sides in (self.default_sides, image.size))
            raise PipelineError(f"it made {made} where {expected} was asked for; set default_size and size_multiple")
        if self._has_previews is None:
            self._has_previews = bool(previews) and _same(previews[0], image)
            most: dict[Beginning, int] = {
                name: self._most_images(name, image) for name in self._pipes if name != "noise"
            }
            self._pipes = {name: pipe for name, pipe in self._pipes.items() if most.get(name, 1)}
            self._input_images = max(most.values(), default=0)

    @property
    def has_references(self) -> bool:
        """Whether the pipeline looks at the images that a request brings, and begins with noise."""
        return "references" in self._pipes

    def _most_images(self, beginning: Beginning, image: Any) -> int:
        """Of how many images like `image` that pipeline makes one; 0 where it makes none."""
        most = most_references(self._pipes[beginning]) or 1
        return next((images for images in range(most, 0, -1) if self._edits(beginning, (image,) * images)), 0)

    def _edits(self, beginning: Beginning, images: tuple[Any, ...]) -> bool:
        """Whether that pipeline makes an image of `images`."""
        from PIL import Image

        given = Given(images, Image.new("L", images[0].size, 255) if beginning == "masked" else None)
        shape = Shape(*self.default_sides, WARM_UP_STEPS, negative=False, beginning=beginning, strength=0.5)
        try:
            (made,) = self.generate(shape, [TRIAL._replace(given=given)], lambda *_: None)
        except Exception:  # whatever a pipeline of an unknown family makes of it
            name = type(self._pipes[beginning]).__name__
            logger.warning("%s cannot be used with %d input images", name, len(images), exc_info=True)
            return False
        return bool(made.size == self.default_sides)

    def profile(self) -> Profile:
        """What the pipeline and its options make possible."""
        options = self.options
        editing = [pipe for beginning, pipe in self._pipes.items() if beginning != "noise"]
        lacks = {
            "partial_images": (bool(self._has_previews), NO_PREVIEWS),
            "quality": (bool(options.quality), NO_QUALITY),
            "transparency": (_makes_transparency(self._pipe), NO_TRANSPARENCY),
            "negative_prompt": (self._reads_negative_prompts(), NO_NEGATIVE_PROMPT),
            "strength": (not editing or any("strength" in _takes(pipe) for pipe in editing), NO_STRENGTH),
        }
        capabilities = {"images"}
        if self._pipes.keys() & {"image", "references"}:
            capabilities |= {"edits", "variations"}
        if "masked" in self._pipes:
            capabilities.add("masks")
        return Profile(
            engine="diffusers",
            capabilities=frozenset(capabilities),
            lacks={name: why for name, (there, why) in lacks.items() if not there},
            limits={
                "context_length": self.prompt_limit,
                "size_multiple": self.size_multiple,
                "min_side": options.min_side,
                "max_side": options.max_side,
                "max_pixels": options.max_pixels,
                "max_images": options.max_images,
                "default_width": self.default_sides[0],
                "default_height": self.default_sides[1],
            }
            | {f"{quality}_steps": steps for quality, steps in options.quality.items()}
            | ({"input_images": self._input_images} if self._input_images else {}),
        )

    def prompt_tokens(self, prompt: str) -> int:
        """How long a prompt is. Call it from one thread at a time."""
        return len(self._tokenizer(prompt, truncation=False, verbose=False)["input_ids"])

    def generate(self, shape: Shape, prompts: list[Prompt], watch: Watcher) -> list[Any]:
        """A PIL image of each prompt. Calls `watch` after each step; blocks. Raises what `watch` raises."""
        import torch

        pipe = self._pipes[shape.beginning]
        takes = _takes(pipe)
        steps, strength = schedule(shape.steps, shape.strength) if "strength" in takes else (shape.steps, 1.0)

        def report(step: int, latents: Any) -> None:
            watch(step + 1, lambda: self._preview(pipe, latents, shape))

        def after_step(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            report(step, tensors["latents"])
            return tensors

        # What older pipelines call instead, such as PixArt's.
        watched = (
            {"callback_on_step_end": after_step} if "callback_on_step_end" in takes
            else {"callback": lambda step, _, latents: report(step, latents)}
        )  # fmt: skip

        arguments: dict[str, Any] = {
            "prompt": [one.text for one in prompts],
            "width": shape.width,
            "height": shape.height,
            "num_inference_steps": steps,
            # On the CPU: the same seed gives the same noise on every device.
            "generator": [torch.Generator("cpu").manual_seed(one.seed) for one in prompts],
            "guidance_scale": self.options.guidance_scale,
            "true_cfg_scale": self.options.true_cfg_scale,
            "negative_prompt": [one.negative for one in prompts] if shape.negative else None,
            "output_type": "pil",
            **watched,
        }
        begun = [one.given for one in prompts if one.given is not None]
        if begun:
            shown = begun[0].images if shape.beginning == "references" else [one.images[0] for one in begun]
            arguments |= {"image": list(shown), "strength": strength}
            arguments["mask_image"] = [one.mask for one in begun]
        given = {name: value for name, value in arguments.items() if value is not None and name in takes}
        try:
            with torch.inference_mode():
                made = pipe(**given)
            if not hasattr(made, "images"):
                raise PipelineError(f"{type(pipe).__name__} makes something else than images")
            return (
                [one.kept(image) for one, image in zip(begun, made.images, strict=True)] if begun else list(made.images)
            )
        finally:
            pipe.maybe_free_model_hooks()

    def blocked(self, images: list[Any]) -> list[bool]:
        """Which of the images the safety checker blocks. Blocks."""
        return [False] * len(images) if self._safety is None else self._safety.blocked(images)

    def _preview(self, pipe: Any, latents: Any, shape: Shape) -> list[Any]:
        """Nothing where the pipeline is known to have none."""
        return [] if self._has_previews is False else list(decoded(pipe, latents, shape.width, shape.height))

    def _reads_negative_prompts(self) -> bool:
        if "true_cfg_scale" in self._takes:  # such pipelines read it only where that is over 1
            return (self.options.true_cfg_scale or self._takes["true_cfg_scale"].default) > 1
        return "negative_prompt" in self._takes


def _takes(pipe: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a pipeline's call."""
    return inspect.signature(pipe.__call__).parameters


def _loaded(model: ServedModel, options: DiffusersOptions) -> Any:
    """The pipeline, in its dtype, on its device, with what makes it faster or smaller switched on."""
    with importing():
        import torch
        from diffusers import AutoPipelineForText2Image, DiffusionPipeline
        from diffusers.utils import logging
        from transformers.utils import logging as transformers_logging

    for one in (logging, transformers_logging):
        one.set_verbosity_error()  # the warnings of long prompts repeat them
        one.disable_progress_bar()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = options.dtype if options.dtype != "auto" else ("float32" if device == "cpu" else "bfloat16")
    arguments: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    given = {"variant": options.variant, "revision": model.revision}
    arguments |= {name: value for name, value in given.items() if value is not None}
    arguments["trust_remote_code"] = "custom_code" in model.allow
    if options.quantization is not None:
        with _named("quantization"):
            arguments["quantization_config"] = _quantization(options.quantization)
    with loading(model.source, model.allow) as use_safetensors:
        arguments["use_safetensors"] = use_safetensors
        try:
            pipe = AutoPipelineForText2Image.from_pretrained(model.source, **arguments)
        except ValueError:  # a pipeline that is in no list of the library's
            pipe = DiffusionPipeline.from_pretrained(model.source, **arguments)
    pipe.set_progress_bar_config(disable=True)
    if getattr(pipe, "safety_checker", None) is not None:
        pipe.safety_checker = None  # ours judges, for every family alike
    _place(pipe, device, options)
    _speed_up(pipe, options)
    return pipe


@contextmanager
def _named(option: str) -> Iterator[None]:
    """Whatever a part of diffusers has against an option, with the option's name before it. Raises PipelineError."""
    try:
        yield
    except Exception as error:  # the library raises many kinds
        raise PipelineError(f"{option}: {error}. Change the option, or leave it out") from error


def _quantization(options: Quantization) -> Any:
    from diffusers.quantizers import PipelineQuantizationConfig

    return PipelineQuantizationConfig(
        quant_backend=options.backend,
        quant_kwargs=options.kwargs,
        components_to_quantize=options.components or None,
    )


def _place(pipe: Any, device: str, options: DiffusersOptions) -> None:
    with _named("offload" if options.offload != "none" else "device"):
        if options.offload == "model":
            pipe.enable_model_cpu_offload(device=device)
        elif options.offload == "sequential":
            pipe.enable_sequential_cpu_offload(device=device)
        else:
            pipe.to(device)
    if options.vae_tiling:
        with _named("vae_tiling"):
            pipe.vae.enable_tiling()


def _speed_up(pipe: Any, options: DiffusersOptions) -> None:
    denoiser = _denoiser(pipe)
    if options.attention_backend is not None:
        with _named("attention_backend"):
            denoiser.set_attention_backend(options.attention_backend)
    if options.cache is not None:
        from diffusers import FirstBlockCacheConfig

        with _named("cache"):
            denoiser.enable_cache(FirstBlockCacheConfig(threshold=options.cache.threshold))
    if options.compile is not None:
        import torch._dynamo

        chosen = options.compile
        # Each shape is a compilation where `dynamic` is false, and beyond torch's own eight it would be a failure.
        torch._dynamo.config.recompile_limit = COMPILED_SHAPES
        with _named("compile"):
            compile_ = denoiser.compile_repeated_blocks if chosen.scope == "repeated_blocks" else denoiser.compile
            compile_(fullgraph=chosen.fullgraph, mode=chosen.mode, dynamic=chosen.dynamic)


def _denoiser(pipe: Any) -> Any:
    parts = (getattr(pipe, name, None) for name in ("transformer", "unet", "decoder"))
    return next((part for part in parts if part is not None), None)


def _scale(pipe: Any) -> int:
    """Pixels of an image's side for each of its latents' side; pipelines without a VAE make pixels at once."""
    scales = (getattr(pipe, name, None) for name in ("vae_scale_factor", "movq_scale_factor"))
    return next((int(scale) for scale in scales if scale is not None), 1)


def _size_multiple(pipe: Any) -> int:
    """A U-Net takes whole latents; a transformer takes patches of two by two of them; a MoVQ rounds up by itself."""
    scale = _scale(pipe)
    if getattr(pipe, "movq", None) is not None:
        return scale * scale
    return max(8, scale) if getattr(pipe, "unet", None) is not None else max(16, 2 * scale)


def _default_sides(pipe: Any, options: DiffusersOptions, multiple: int) -> tuple[int, int]:
    latents = getattr(pipe, "default_sample_size", None)
    if latents is None and (denoiser := _denoiser(pipe)) is not None:
        latents = getattr(denoiser.config, "sample_size", None)
    side = latents * _scale(pipe) if isinstance(latents, int) else USUAL_SIDE
    side = min(max(side, options.min_side), options.max_side) // multiple * multiple
    return side, side


def _makes_transparency(pipe: Any) -> bool:
    vae = getattr(pipe, "vae", None)
    return vae is not None and getattr(vae.config, "out_channels", 3) == 4


def _prompt_limit(pipe: Any, takes: Any) -> tuple[int, Any]:
    """The tokens that a prompt may have, and the tokenizer that counts them: that of the encoder with most room."""
    parts = {name: getattr(pipe, name) for name in TOKENIZERS if hasattr(pipe, name)}
    # A processor of texts and images, such as Flux 2's, has its tokenizer inside.
    there = [getattr(part, "tokenizer", part) for part in parts.values() if part is not None]
    if (processor := getattr(pipe, "processor", None)) is not None:
        there.append(processor.tokenizer)
    if not there:
        raise PipelineError(f"{type(pipe).__name__} has no tokenizer that is known here")
    roomy = there[-1]
    default = takes["max_sequence_length"].default if "max_sequence_length" in takes else None
    # The last tokenizer is that of the length; where its encoder was left out, the others read what they can.
    if default is not None and list(parts.values())[-1:] != [None]:
        return int(default), roomy
    default = getattr(pipe, "default_max_sequence_length", None)
    counted = there[0] if default is None else roomy
    return min(int(default or counted.model_max_length), MAX_PROMPT_TOKENS), counted


def _same(preview: Any, image: Any) -> bool:
    import numpy as np

    first, second = (np.asarray(one, dtype="float32") for one in (preview, image))
    return first.shape == second.shape and float(np.abs(first - second).mean()) < SAME_IMAGE
