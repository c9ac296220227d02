"""POST /v1/images/edits and /v1/images/variations on diffusers: images made of images."""

import asyncio
import io
import math
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from contract.errors import ApiError
from contract.options.diffusers import DiffusersOptions
from contract.protocol import EDITS_ROUTE, IMAGES_ROUTE, VARIATIONS_ROUTE, ResponseHead
from deployments.images.editing import given, opened, schedule
from deployments.images.pipeline import DiffusionModel
from deployments.replica import Replica
from tests.engines.pipelines import MODELS, OPTIONS, ROUNDING
from tests.engines.replicas import items_of, served, started
from tests.engines.test_images_engine import pixels
from tests.sample_images import TRUNCATED, data_url

PICTURE = Image.radial_gradient("L").resize((64, 64)).convert("RGB")


def png(image: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def reference(image: Any) -> dict[str, str]:
    return {"image_url": data_url(png(image))}


def hole(width: int = 64, height: int = 64) -> Any:
    """A mask whose left half is to be made anew."""
    mask = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, width // 2, height))
    return mask


@pytest.fixture(scope="module", params=["pocket-image", "pocket-flux"])
async def replica(request: pytest.FixtureRequest) -> Replica:
    options = OPTIONS | {"quality": {"low": 2, "high": 12}}
    return await started("diffusers", "images", str(MODELS / request.param), options)


@pytest.fixture(scope="module")
async def stable_diffusion() -> Replica:
    return await started("diffusers", "images", str(MODELS / "pocket-image"), OPTIONS)


async def edit(served: Replica, image: Any = PICTURE, **parameters: Any) -> list[Any]:
    body = {"prompt": "a fox", "image": [reference(image)], "seed": 1} | parameters
    return await items_of(served, EDITS_ROUTE, body)


async def edited(served: Replica, image: Any = PICTURE, **parameters: Any) -> dict[str, Any]:
    (head,) = await edit(served, image, **parameters)
    assert head.error is None, head.error
    return orjson.loads(head.body) | {"billed": head.usage}


async def picture(served: Replica, image: Any = PICTURE, **parameters: Any) -> Any:
    return pixels((await edited(served, image, **parameters))["data"][0]["b64_json"])


def distance(one: Any, other: Any) -> float:
    return float(np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).mean())


async def test_the_less_is_made_anew_the_more_of_the_image_stays(replica: Replica) -> None:
    """Random weights make noise of it; the same seed makes the same."""
    little, much = await picture(replica, strength=0.05), await picture(replica, strength=1.0)
    assert distance(little, much) > 5
    other = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    assert distance(little, await picture(replica, other, strength=0.05)) > distance(
        much, await picture(replica, other, strength=1.0)
    )
    assert np.abs(little - await picture(replica, strength=0.05)).max() <= ROUNDING


async def test_outside_of_the_mask_every_pixel_stays(replica: Replica) -> None:
    made = await picture(replica, mask=reference(hole()), strength=1.0)
    original = np.asarray(PICTURE, dtype=int)
    assert np.array_equal(made[:, 32:], original[:, 32:])
    assert distance(made[:, :32], original[:, :32]) > 5


async def test_an_image_is_the_same_alone_and_in_a_batch(replica: Replica) -> None:
    alone = await picture(replica, seed=7)
    together = (await edited(replica, seed=5, n=4))["data"]
    assert np.abs(pixels(together[2]["b64_json"]) - alone).max() <= ROUNDING
    assert distance(pixels(together[3]["b64_json"]), alone) > 1


async def test_edits_and_generations_that_wait_together_are_each_their_own(replica: Replica) -> None:
    alone, noise = await picture(replica, seed=3), {"prompt": "a fox", "seed": 3}
    (generated,) = await items_of(replica, IMAGES_ROUTE, noise)
    first, (second,) = await asyncio.gather(picture(replica, seed=3), items_of(replica, IMAGES_ROUTE, noise))
    assert np.abs(first - alone).max() <= ROUNDING
    images = [pixels(orjson.loads(head.body)["data"][0]["b64_json"]) for head in (generated, second)]
    assert np.abs(images[0] - images[1]).max() <= ROUNDING


@pytest.mark.parametrize("strength", [0.05, 0.33, 0.8, 1.0])
async def test_quality_is_steps_whatever_is_made_anew(replica: Replica, strength: float) -> None:
    engine: Any = replica.engine
    for quality, steps in (("low", 2), ("high", 12)):
        before = engine._batches.steps_done
        await edit(replica, quality=quality, strength=strength)
        assert engine._batches.steps_done - before == steps


async def test_the_answer_has_the_form_of_the_image_or_the_size_that_is_asked_for(replica: Replica) -> None:
    wide = PICTURE.resize((200, 100))
    found = await edited(replica, wide)
    width = {8: 88, 16: 96}[replica.engine.profile().limits["size_multiple"]]
    assert found["portico"]["size"] == f"{width}x64"
    assert pixels(found["data"][0]["b64_json"]).shape == (64, width, 3)
    assert (await picture(replica, wide, size="64x96")).shape == (96, 64, 3)
    masked = await picture(replica, wide, size="64x64", mask=reference(hole(200, 100)))
    assert masked.shape == (64, 64, 3)


async def test_usage_counts_the_image_that_is_read(replica: Replica) -> None:
    found = await edited(replica, n=2)
    usage = found["usage"]
    assert usage["input_tokens_details"]["image_tokens"] == 16
    assert usage["output_tokens"] == 32
    assert usage["input_tokens"] == usage["input_tokens_details"]["text_tokens"] + 16
    assert found["billed"] == usage


async def test_a_stream_shows_the_image_as_it_becomes(replica: Replica) -> None:
    head, *events, tail = await edit(replica, stream=True, partial_images=2, quality="high", mask=reference(hole()))
    assert isinstance(head, ResponseHead)
    contents = [orjson.loads(event.partition(b"data: ")[2]) for event in events]
    assert [one["type"] for one in contents] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    whole = await picture(replica, quality="high", mask=reference(hole()))
    assert np.abs(pixels(contents[-1]["b64_json"]) - whole).max() <= ROUNDING
    assert tail.error is None


async def test_a_variation_needs_no_prompt(replica: Replica) -> None:
    (head,) = await items_of(replica, VARIATIONS_ROUTE, {"image": [reference(PICTURE)], "n": 2, "seed": 1})
    first, second = (pixels(one["b64_json"]) for one in orjson.loads(head.body)["data"])
    assert distance(first, second) > 1


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"image": [{"image_url": data_url(TRUNCATED, "jpeg")}]}, "image.0"),
        ({"image": [{"image_url": data_url(b"no image")}]}, "image.0"),
        ({"image": [{"image_url": "data:image/png;base64,???"}]}, "image.0"),
        ({"mask": {"image_url": data_url(b"no image")}}, "mask"),
        ({"mask": reference(hole(32, 64))}, "mask"),
        ({"mask": reference(PICTURE)}, "mask"),
    ],
    ids=["cut off", "no image", "no base64", "no mask", "mask of another size", "mask without transparency"],
)
async def test_what_is_no_image_or_no_mask(stable_diffusion: Replica, changes: Any, place: str) -> None:
    body = {"prompt": "a fox", "image": [reference(PICTURE)]} | changes
    (head,) = await items_of(stable_diffusion, EDITS_ROUTE, body)
    assert (head.status, head.error["code"], head.error["param"]) == (422, "invalid_image", place)


def model(**changes: Any) -> DiffusionModel:
    options = DiffusersOptions.model_validate(OPTIONS | changes)
    found = DiffusionModel(served("diffusers", str(MODELS / "pocket-image")), options)
    found.try_out()
    return found


def test_what_a_model_can_do_with_images_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert model().profile().capabilities == {"images", "edits", "masks", "variations"}
    assert model(edits=False).profile().capabilities == {"images"}
    generate = DiffusionModel.generate

    def no_masks(self: Any, shape: Any, *arguments: Any) -> Any:
        if shape.beginning == "masked":
            raise RuntimeError("it takes no masks")
        return generate(self, shape, *arguments)

    monkeypatch.setattr(DiffusionModel, "generate", no_masks)
    assert model().profile().capabilities == {"images", "edits", "variations"}


def test_the_loaded_weights_are_the_only_ones() -> None:
    found = model()
    assert {id(pipe.unet) for pipe in found._pipes.values()} == {id(found._pipe.unet)}
    assert {id(pipe.vae) for pipe in found._pipes.values()} == {id(found._pipe.vae)}


class TestOpened:
    def test_a_camera_s_turn_is_undone(self) -> None:
        turned = Image.new("RGB", (40, 20))
        exif = turned.getexif()
        exif[0x0112] = 6
        content = io.BytesIO()
        turned.save(content, "JPEG", exif=exif)
        assert opened(data_url(content.getvalue(), "jpeg"), "image.0").size == (20, 40)

    def test_transparent_pixels_become_white(self) -> None:
        clear = opened(data_url(png(Image.new("RGBA", (8, 8), (9, 9, 9, 0)))), "image.0")
        assert given(clear, None, (8, 8)).images[0].getpixel((0, 0)) == (255, 255, 255)

    def test_of_an_animation_the_first_picture(self) -> None:
        content = io.BytesIO()
        frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
        frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
        assert opened(data_url(content.getvalue(), "gif"), "image.0").getpixel((0, 0)) == (255, 0, 0)

    def test_a_decompression_bomb_is_no_image(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(ApiError, match="cannot be decoded"):
            opened(data_url(png(PICTURE)), "image.0")


@pytest.mark.parametrize("steps", [1, 2, 7, 28, 50])
@pytest.mark.parametrize("strength", [0.05, 0.1, 0.3, 1 / 3, 0.7, 0.8, 0.95, 1.0])
def test_a_schedule_has_as_many_steps_left_as_are_wanted(steps: int, strength: float) -> None:
    whole, found = schedule(steps, strength)
    assert whole * found == steps
    assert found <= strength + 1e-9
    assert whole <= math.ceil(steps / strength) + 5, "a shorter schedule would be nearer"
    assert whole <= 1000
