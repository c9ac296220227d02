"""The image deployment: a diffusers pipeline in a Serve replica, which batches waiting pictures of one shape."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pybase64

from contract.adjustments import Adjustment, refuse_changes
from contract.errors import ApiError, upstream_error
from contract.image_tokens import image_tokens
from contract.options.diffusers import DiffusersOptions
from contract.protocol import EVENT_STREAM, Clamp, RequestHead, ResponseHead, ResponseItem, ResponseTail
from deployments.health import Health
from deployments.images.batches import ImageBatches, Job, Seen
from deployments.images.encoding import encoded
from deployments.images.pipeline import DiffusionModel, Picture, Shape

logger = logging.getLogger("portico.images")

SEED_BITS = 63
PROMPTS = ("prompt", "negative_prompt")
HOLD_S = 10.0  # a stream waits this long for its first event, so that an early failure still has a status of its own
BLOCKED = "The safety checker of this model blocked the image. Change the prompt or the seed."


class ImagesReplica:
    """One replica of an image model. It is ready once it has made an image."""

    # Serve awaits a constructor; the type checker knows only plain ones.
    async def __init__(self, model_id: str, source: str, engine_kwargs: dict[str, Any]) -> None:  # type: ignore[misc]
        self._model_id = model_id
        self._options = DiffusersOptions.model_validate(engine_kwargs)
        self._model = await asyncio.to_thread(DiffusionModel, source, self._options)
        await asyncio.to_thread(self._model.warm_up)
        self._batches = ImageBatches(self._model)
        self._health = Health(self._batches.try_out)
        self._counting = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")

    async def handle(self, request: RequestHead, body: bytes) -> AsyncIterator[ResponseItem]:
        """Answer one request. Closing this generator stops the work where nobody else waits for it."""
        jobs: list[Job] = []
        event: asyncio.Task[bytes] | None = None
        started = False
        try:
            asked = orjson.loads(body)
            tokens, clamped = await self._read_prompts(asked, request.strict)
            jobs = self._jobs(asked)
            answer = _Answer(asked, jobs[0].shape, tokens, len(jobs))
            for job in jobs:
                self._batches.submit(job)
            if not asked.get("stream"):
                yield ResponseHead(200, body=await answer.whole(jobs), usage=answer.usage, clamped=clamped)
                return
            event = asyncio.create_task(answer.next_event(jobs[0]))
            await asyncio.wait([event], timeout=HOLD_S)
            if not event.done() or event.exception() is None:
                started = True
                yield ResponseHead(200, EVENT_STREAM, clamped=clamped)
            while piece := await event:
                yield piece
                event = asyncio.create_task(answer.next_event(jobs[0]))
            yield ResponseTail(answer.usage)
        except ApiError as error:
            yield ResponseTail(error=error.to_wire()) if started else ResponseHead(error.status, error=error.to_wire())
        except Exception:
            logger.exception("the pipeline failed request %s", request.request_id)
            self._health.suspect()
            wire = upstream_error().to_wire()
            yield ResponseTail(error=wire) if started else ResponseHead(502, error=wire)
        finally:
            if event is not None:
                event.cancel()
            for job in jobs:
                job.wanted = False

    async def describe(self) -> dict[str, Any]:
        """What the model can do: a `Profile` as plain data."""
        return self._model.profile().to_wire()

    async def check_health(self) -> None:
        """Raises EngineBrokenError."""
        self._health.check()

    def unfinished_requests(self) -> int:
        """Pictures that are painted or wait for it."""
        return self._batches.unfinished()

    async def _read_prompts(self, asked: dict[str, Any], strict: bool) -> tuple[int, tuple[Clamp, ...]]:
        """The tokens that are read, and which prompts are cut, where the operator lets them be. Raises ApiError."""
        loop, limit = asyncio.get_running_loop(), self._model.prompt_limit
        read = 0
        cut: list[Clamp] = []
        for name in PROMPTS:
            if not asked.get(name):
                continue
            tokens = await loop.run_in_executor(self._counting, self._model.prompt_tokens, asked[name])
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

    def _jobs(self, asked: dict[str, Any]) -> list[Job]:
        """A picture each; those after the first have the seeds that follow."""
        negative = asked.get("negative_prompt", "")
        width, height = self._sides(asked.get("size"))
        steps = self._options.steps_of(asked.get("quality")) or self._model.default_steps
        shape = Shape(width, height, steps, bool(negative))
        seed = asked.get("seed")
        if seed is None:
            seed = secrets.randbits(SEED_BITS)
        partial_images = asked.get("partial_images", 0) if asked.get("stream") else 0
        return [
            Job(shape, Picture(asked["prompt"], negative, (seed + number) % 2**SEED_BITS), partial_images)
            for number in range(asked.get("n", 1))
        ]

    def _sides(self, size: str | None) -> tuple[int, int]:
        if size is None:
            return self._model.default_sides
        width, height = size.split("x")
        return int(width), int(height)


class _Answer:
    """The answer to one request, in OpenAI's shapes."""

    def __init__(self, asked: dict[str, Any], shape: Shape, prompt_tokens: int, images: int) -> None:
        self._format = asked.get("output_format", "png")
        self._compression = asked.get("output_compression")
        self._facts = {
            "size": f"{shape.width}x{shape.height}",
            "quality": asked.get("quality"),
            "background": asked.get("background", "opaque"),
            "output_format": self._format,
        }
        made = image_tokens(shape.width, shape.height, images)
        self.usage = {
            "input_tokens": prompt_tokens,
            "input_tokens_details": {"text_tokens": prompt_tokens, "image_tokens": 0},
            "output_tokens": made,
            "total_tokens": prompt_tokens + made,
            "images": images,
        }
        self._ended = False

    async def whole(self, jobs: list[Job]) -> bytes:
        """The body with all images. Raises ApiError where one must not be shown, and what the pipeline raised."""
        data = [{"b64_json": await self._base64(await _shown(job))} for job in jobs]
        facts = {name: value for name, value in self._facts.items() if value is not None}
        return orjson.dumps({"created": int(time.time()), "data": data, **facts, "usage": self.usage})

    async def next_event(self, job: Job) -> bytes:
        """The next event of a stream; empty after the last. Raises as `whole` does."""
        if self._ended:
            return b""
        seen = await _next(job)
        kind = "image_generation.completed" if seen.partial is None else "image_generation.partial_image"
        content: dict[str, Any] = {"type": kind, "b64_json": await self._base64(seen.image)}
        content |= {"created_at": int(time.time())} | self._facts | {"quality": self._facts["quality"] or "auto"}
        if seen.partial is None:
            self._ended = True
            content["usage"] = self.usage
        else:
            content["partial_image_index"] = seen.partial
        return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(content) + b"\n\n"

    async def _base64(self, image: Any) -> str:
        return await asyncio.to_thread(_base64, image, self._format, self._compression)


def _base64(image: Any, output_format: str, compression: int | None) -> str:
    return str(pybase64.b64encode(encoded(image, output_format, compression)).decode())


async def _shown(job: Job) -> Any:
    """The finished picture."""
    while (seen := await _next(job)).partial is not None:
        pass
    return seen.image


async def _next(job: Job) -> Seen:
    seen = await job.seen.get()
    if isinstance(seen, Exception):
        raise seen
    if seen.image is None:
        raise ApiError("content_policy_violation", BLOCKED, param="prompt")
    return seen
