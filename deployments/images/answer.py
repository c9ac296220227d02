"""The answer to one request for images, in OpenAI's shapes: a whole body, or the events of a stream."""

import asyncio
import time
from typing import Any

import orjson
import pybase64

from contract import sse
from contract.errors import ApiError
from contract.image_tokens import image_tokens
from deployments.images.batches import Image, ImageJob
from deployments.images.encoding import encoded
from deployments.images.pipeline import Shape

# What OpenAI's fields may hold. Other values stand under `portico`, and an event, which must have the field, has
# `auto` then.
OPENAI_VALUES = {"size": ("1024x1024", "1024x1536", "1536x1024"), "quality": ("low", "medium", "high")}
BLOCKED = "The safety checker of this model blocked the image. Change the prompt or the seed."


class ImagesAnswer:
    """The answer to one request."""

    def __init__(
        self,
        parameters: dict[str, Any],
        shape: Shape,
        prompt_tokens: int,
        images: int,
        event: str = "image_generation",
        *,
        read: int = 0,
    ) -> None:
        """`event` is what the types of its events begin with; `read` are the tokens of the images it is made of."""
        self._event = event
        self._format = parameters.get("output_format", "png")
        self._compression = parameters.get("output_compression")
        facts = {
            "size": f"{shape.width}x{shape.height}",
            "quality": parameters.get("quality"),
            "background": parameters.get("background", "opaque"),
            "output_format": self._format,
        }
        given = {name: value for name, value in facts.items() if value is not None}
        self._facts = {name: value for name, value in given.items() if value in OPENAI_VALUES.get(name, (value,))}
        others = {name: value for name, value in given.items() if name not in self._facts}
        self._portico = {"portico": others} if others else {}
        generated = image_tokens(shape.width, shape.height, images)
        self.usage = {
            "input_tokens": prompt_tokens + read,
            "input_tokens_details": {"text_tokens": prompt_tokens, "image_tokens": read},
            "output_tokens": generated,
            "total_tokens": prompt_tokens + read + generated,
            "images": images,
        }
        self.ended = False  # whether the last event is made

    async def whole(self, jobs: list[ImageJob]) -> bytes:
        """The body with all images. Raises ApiError where one is blocked, and what the pipeline raised."""
        data = [{"b64_json": await self._base64((await _result(job)).image)} for job in jobs]
        facts = self._facts | self._portico
        return orjson.dumps({"created": int(time.time()), "data": data, **facts, "usage": self.usage})

    async def next_event(self, job: ImageJob) -> bytes:
        """The next event of a stream. Raises as `whole` does."""
        result = await _result(job)
        self.ended = result.partial is None
        kind = f"{self._event}.completed" if self.ended else f"{self._event}.partial_image"
        content: dict[str, Any] = {"type": kind, "b64_json": await self._base64(result.image)}
        content |= {"created_at": int(time.time()), "size": "auto", "quality": "auto"} | self._facts | self._portico
        content |= {"usage": self.usage} if self.ended else {"partial_image_index": result.partial}
        return sse.event(content, kind)

    async def _base64(self, image: Any) -> str:
        return await asyncio.to_thread(_base64, image, self._format, self._compression)


def _base64(image: Any, output_format: str, compression: int | None) -> str:
    return str(pybase64.b64encode(encoded(image, output_format, compression)).decode())


async def _result(job: ImageJob) -> Image:
    result = await job.result()
    if result.image is None:
        raise ApiError("content_policy_violation", BLOCKED, param="prompt")
    return result
