"""The engine of images: a diffusers pipeline, with requests that wait batched by shape."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, Self

import orjson

from contract.adjustments import Adjustment, refuse_changes
from contract.errors import ApiError
from contract.image_tokens import image_tokens
from contract.options.catalog import ServedModel
from contract.options.diffusers import DiffusersOptions
from contract.profile import Profile
from contract.protocol import (
    EDITS_ROUTE,
    EVENT_STREAM,
    IMAGES_ROUTE,
    Clamp,
    RequestHead,
    ResponseHead,
    ResponseItem,
    ResponseTail,
)
from deployments.images.answer import ImagesAnswer
from deployments.images.batches import ImageBatches, ImageJob
from deployments.images.editing import Beginning, Given, given, opened, reference, sides_like
from deployments.images.pipeline import DiffusionModel, Prompt, Shape
from deployments.replica import Engine

SEED_BITS = 63
PROMPTS = ("prompt", "negative_prompt")
HOLD_S = 10.0  # a stream's head waits this long for the first event, so that an early failure has a status of its own


class DiffusersEngine(Engine):
    """A pipeline and the images that wait for it."""

    def __init__(self, model: DiffusionModel) -> None:
        self._options = model.options
        self._model = model
        self._batches = ImageBatches(model)
        self._counting = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")

    @classmethod
    async def start(cls, model: ServedModel, options: DiffusersOptions) -> Self:
        return cls(await asyncio.to_thread(DiffusionModel, model, options))

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        """Closing it stops the work where nobody else waits for it."""
        parameters = orjson.loads(body)
        tokens, clamped = await self._read_prompts(parameters, request.strict)
        begun, sides = None, self._sides(parameters.get("size"))
        if request.route != IMAGES_ROUTE:
            begun, sides = await asyncio.get_running_loop().run_in_executor(self._counting, self._begun, parameters)
        jobs = self._jobs(parameters, begun, sides)
        event_name = "image_edit" if request.route == EDITS_ROUTE else "image_generation"
        read = sum(image_tokens(*image.size) for image in begun.images) if begun else 0
        answer = ImagesAnswer(parameters, jobs[0].shape, tokens, len(jobs), event_name, read=read)
        event: asyncio.Task[bytes] | None = None
        try:
            for job in jobs:
                self._batches.submit(job)
            if not parameters.get("stream"):
                yield ResponseHead(200, body=await answer.whole(jobs), usage=answer.usage, clamped=clamped)
                return
            yield ResponseHead(200, EVENT_STREAM, clamped=clamped)
            event = asyncio.create_task(answer.next_event(jobs[0]))
            await asyncio.wait([event], timeout=HOLD_S)
            if not event.done():
                yield b""
            yield await event
            while not answer.ended:
                yield await answer.next_event(jobs[0])
            yield ResponseTail(answer.usage)
        finally:
            if event is not None:
                event.cancel()
            for job in jobs:
                job.wanted = False

    def profile(self) -> Profile:
        return self._model.profile()

    async def trial(self) -> None:
        await self._batches.in_turn(self._model.try_out)

    def unfinished(self) -> int:
        """Images that are generated or wait for it."""
        return self._batches.unfinished()

    def steps(self) -> int:
        return self._batches.steps()

    def close(self) -> None:
        self._batches.close()
        self._counting.shutdown(wait=False)

    async def _read_prompts(self, parameters: dict[str, Any], strict: bool) -> tuple[int, tuple[Clamp, ...]]:
        """The tokens that are read, and which prompts are cut, where the operator lets them be. Raises ApiError."""
        loop, limit = asyncio.get_running_loop(), self._model.prompt_limit
        read = 0
        cut: list[Clamp] = []
        for name in PROMPTS:
            if not parameters.get(name):
                continue
            tokens = await loop.run_in_executor(self._counting, self._model.prompt_tokens, parameters[name])
            read += min(tokens, limit)
            if tokens <= limit:
                continue
            if self._options.long_prompts == "refuse":
                message = f"`{name}` has {tokens} tokens; the model reads {limit}. Shorten it."
                raise ApiError("context_length_exceeded", message, param=name)
            cut.append((name, tokens, limit))
        if strict:
            refuse_changes([Adjustment(name, "clamp", tokens, limit) for name, tokens, limit in cut])
        return read, tuple(cut)

    def _begun(self, parameters: dict[str, Any]) -> tuple[Given, tuple[int, int]]:
        """What a request brings, as the pipeline takes it, and the sides of the answer. Blocks. Raises ApiError."""
        urls = [one["image_url"] for one in parameters["image"]]
        image = opened(urls[0], "image.0")
        sides = self._sides(parameters["size"]) if "size" in parameters else self._sides_like(image)
        if self._model.has_references:
            others = (
                opened(url, f"image.{place}") for place, url in enumerate(urls[1:], 1)
            )  # one by one: they are large
            return Given(tuple(map(self._reference, chain([image], others)))), sides
        mask = parameters.get("mask")
        return given(image, mask and opened(mask["image_url"], "mask"), sides), sides

    def _jobs(self, parameters: dict[str, Any], begun: Given | None, sides: tuple[int, int]) -> list[ImageJob]:
        """One for each image; those after the first have the seeds that follow."""
        negative = parameters.get("negative_prompt", "")
        steps = self._options.steps_of(parameters.get("quality")) or self._model.default_steps
        shape = Shape(*sides, steps, bool(negative))
        if begun is not None:
            beginning: Beginning = "references" if self._model.has_references else "image"
            beginning = beginning if begun.mask is None else "masked"
            strength = parameters.get("strength", self._options.edit_strength)
            shape = shape._replace(beginning=beginning, strength=strength)
        seed = parameters.get("seed")
        if seed is None:
            seed = secrets.randbits(SEED_BITS)
        partial_images = parameters.get("partial_images", 0) if parameters.get("stream") else 0
        prompt = parameters.get("prompt", "")  # a variation has none
        return [
            ImageJob(shape, Prompt(prompt, negative, (seed + number) % 2**SEED_BITS, begun), partial_images)
            for number in range(parameters.get("n", 1))
        ]

    def _sides(self, size: str | None) -> tuple[int, int]:
        if size is None:
            return self._model.default_sides
        width, height = size.split("x")
        return int(width), int(height)

    def _reference(self, image: Any) -> Any:
        return reference(image, self._model.default_sides, self._model.size_multiple)

    def _sides_like(self, image: Any) -> tuple[int, int]:
        """Sides in the form of `image`, of about as many pixels as the model's own."""
        bounds = (self._options.min_side, self._options.max_side)
        return sides_like(image, self._model.default_sides, self._model.size_multiple, bounds, self._options.max_pixels)
