"""Answers to image requests, read as OpenAI's own types and its specification's values."""

from typing import Any

import orjson
import PIL.Image
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent, ImagesResponse

from deployments.images.answer import ImagesAnswer
from deployments.images.batches import Image
from deployments.images.pipeline import Shape

PICTURE = PIL.Image.new("RGB", (8, 8))
SIZES = ["1024x1024", "1024x1536", "1536x1024"]


class Done:
    """A job that has its next image."""

    def __init__(self, partial: int | None = None) -> None:
        self._partial = partial

    async def result(self) -> Image:
        return Image(PICTURE, self._partial)


def answer_of(size: str, **parameters: Any) -> ImagesAnswer:
    width, height = map(int, size.split("x"))
    return ImagesAnswer(parameters, Shape(width, height, 4, False), prompt_tokens=3, images=1)


async def whole(size: str, **parameters: Any) -> dict[str, Any]:
    body = await answer_of(size, **parameters).whole([Done()])  # type: ignore[list-item]
    ImagesResponse.model_validate_json(body, strict=True)
    return dict(orjson.loads(body))


async def event(size: str, partial: int | None = None, **parameters: Any) -> dict[str, Any]:
    sent = await answer_of(size, **parameters).next_event(Done(partial))  # type: ignore[arg-type]
    content = sent.partition(b"data: ")[2]
    kind = ImageGenCompletedEvent if partial is None else ImageGenPartialImageEvent
    kind.model_validate_json(content, strict=True)
    return dict(orjson.loads(content))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quality", ["low", "medium", "high"])
async def test_openai_s_values_are_in_openai_s_fields(size: str, quality: str) -> None:
    for content in (await whole(size, quality=quality), await event(size, quality=quality)):
        assert (content["size"], content["quality"]) == (size, quality)
        assert "portico" not in content


@pytest.mark.parametrize("quality", ["xhigh", "max"])
async def test_other_values_are_under_portico(quality: str) -> None:
    facts = {"size": "64x96", "quality": quality}
    content = await whole("64x96", quality=quality)
    assert content["portico"] == facts
    assert not facts.keys() & content.keys()
    for partial in (None, 0):
        content = await event("64x96", partial, quality=quality)
        assert content["portico"] == facts
        assert (content["size"], content["quality"]) == ("auto", "auto")


async def test_a_quality_that_was_not_requested_is_not_named() -> None:
    assert "quality" not in await whole("1024x1024")
    content = await event("1024x1024")
    assert content["quality"] == "auto"
    assert "portico" not in content


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("background", ["opaque", "transparent"])
async def test_background_and_format_are_openai_s(output_format: str, background: str) -> None:
    content = await whole("1024x1024", output_format=output_format, background=background)
    assert (content["output_format"], content["background"]) == (output_format, background)
    content = await event("1024x1024", output_format=output_format, background=background)
    assert (content["output_format"], content["background"]) == (output_format, background)
