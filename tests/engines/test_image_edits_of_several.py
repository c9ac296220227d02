"""POST /v1/images/edits on diffusers with several images, by a pipeline that looks at all of them and makes one."""

import asyncio
from typing import Any

import numpy as np
import orjson
import pytest
from diffusers import Flux2Pipeline
from PIL import Image
from transformers import Mistral3Config, Mistral3ForConditionalGeneration

from app.endpoints.image_edits import EDITS_TABLE
from app.parameters.adjust import adjust
from contract.errors import ApiError
from contract.options.diffusers import DiffusersOptions
from contract.protocol import EDITS_ROUTE, IMAGES_ROUTE, VARIATIONS_ROUTE
from deployments.images import editing
from deployments.images.editing import Given
from deployments.images.pipeline import DiffusionModel, Prompt, Shape
from deployments.replica import Replica
from local_models import flux2
from tests.engines.pipelines import MODELS, OPTIONS, ROUNDING
from tests.engines.replicas import items_of, served, started
from tests.engines.test_image_edits import PICTURE, distance, hole, png, reference
from tests.engines.test_images_engine import batches, pixels
from tests.sample_images import data_url

FLUX2 = str(MODELS / "pocket-flux2")
QUALITY = {"low": 2, "high": 20}
MOST = 4  # images that a Flux 2 Klein takes
ROUND = PICTURE
DARK = Image.new("RGB", (64, 64), (9, 9, 40))
SLOPE = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
STRIPES = SLOPE.rotate(90)


@pytest.fixture(scope="module")
async def replica() -> Replica:
    return await started("diffusers", "images", FLUX2, OPTIONS | {"quality": QUALITY})


async def edit(served: Replica, *images: Any, route: str = EDITS_ROUTE, **parameters: Any) -> list[Any]:
    body = {"image": [reference(image) for image in images], "seed": 1} | parameters
    return await items_of(served, route, body if route == VARIATIONS_ROUTE else {"prompt": "a fox"} | body)


async def edited(served: Replica, *images: Any, **parameters: Any) -> dict[str, Any]:
    (head,) = await edit(served, *images, **parameters)
    assert head.error is None, head.error
    return orjson.loads(head.body) | {"billed": head.usage}


async def picture(served: Replica, *images: Any, **parameters: Any) -> Any:
    return pixels((await edited(served, *images, **parameters))["data"][0]["b64_json"])


async def test_two_images_make_one_that_neither_makes_alone(replica: Replica) -> None:
    both = await picture(replica, ROUND, SLOPE)
    assert np.abs(both - await picture(replica, ROUND, SLOPE)).max() <= ROUNDING
    first, second = await picture(replica, ROUND), await picture(replica, SLOPE)
    assert min(distance(both, first), distance(both, second), distance(first, second)) > 0.5


async def test_their_order_counts(replica: Replica) -> None:
    one, other = await picture(replica, ROUND, SLOPE), await picture(replica, SLOPE, ROUND)
    assert np.abs(one - other).max() > ROUNDING


async def test_the_last_one_counts_too(replica: Replica) -> None:
    one, other = [await picture(replica, ROUND, SLOPE, DARK, last) for last in (DARK, STRIPES)]
    assert np.abs(one - other).max() > ROUNDING


async def test_the_answer_has_the_form_of_the_first_or_the_size_that_is_asked_for(replica: Replica) -> None:
    wide = ROUND.resize((200, 100))
    assert (await picture(replica, wide, SLOPE)).shape == (64, 96, 3)
    assert (await picture(replica, SLOPE, wide)).shape == (64, 64, 3)
    assert (await picture(replica, SLOPE, wide, size="64x96")).shape == (96, 64, 3)


async def test_usage_counts_each_image_as_it_is_read(replica: Replica) -> None:
    found = await edited(replica, ROUND, SLOPE.resize((200, 100)), n=2)
    usage = found["usage"]
    assert usage["input_tokens_details"]["image_tokens"] == 4 * 4 + 8 * 4, "the second is read at 128 x 64"
    assert usage["output_tokens"] == 2 * 4 * 4
    assert found["billed"] == usage


@pytest.mark.parametrize("sides", [(1, 1), (3000, 8), (8, 3000), (1200, 900)], ids=["dot", "line", "post", "large"])
async def test_an_image_of_any_form_is_read(replica: Replica, sides: tuple[int, int]) -> None:
    (head,) = await edit(replica, ROUND, ROUND.resize(sides))
    assert head.status == 200


async def test_all_images_of_an_answer_are_made_at_once(replica: Replica) -> None:
    alone = await picture(replica, ROUND, SLOPE, seed=7)
    before = batches(replica).begun
    together = (await edited(replica, ROUND, SLOPE, seed=5, n=4))["data"]
    assert batches(replica).begun == before + 1
    assert np.abs(pixels(together[2]["b64_json"]) - alone).max() <= ROUNDING


async def test_no_request_sees_the_images_of_another_that_waits_with_it(replica: Replica) -> None:
    alone = [await picture(replica, *images) for images in ((ROUND,), (SLOPE,), (ROUND, DARK))]
    begun = batches(replica).begun
    long = asyncio.create_task(edit(replica, DARK, quality="high"))
    while batches(replica).begun == begun:
        await asyncio.sleep(0.01)
    together = await asyncio.gather(
        *(picture(replica, *images) for images in ((ROUND,), (SLOPE,), (ROUND, DARK))),
        items_of(replica, IMAGES_ROUTE, {"prompt": "a fox", "seed": 1}),
    )
    await long
    assert batches(replica).begun == begun + 1 + 4
    for one, found in zip(alone, together, strict=False):
        assert np.abs(one - found).max() <= ROUNDING


async def test_quality_is_steps(replica: Replica) -> None:
    """Also where a client asks for a strength, which these pipelines do not have: the gateway drops and reports it."""
    for quality, steps in QUALITY.items():
        before = batches(replica).steps_done
        await edit(replica, ROUND, SLOPE, quality=quality, strength=0.1)
        assert batches(replica).steps_done - before == steps


async def test_a_stream_shows_the_image_as_it_becomes(replica: Replica) -> None:
    _, *events, tail = await edit(replica, ROUND, SLOPE, stream=True, partial_images=2, quality="high")
    contents = [orjson.loads(event.partition(b"data: ")[2]) for event in events]
    assert [one["type"] for one in contents] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    whole = await picture(replica, ROUND, SLOPE, quality="high")
    assert np.abs(pixels(contents[-1]["b64_json"]) - whole).max() <= ROUNDING
    assert tail.error is None


async def test_a_client_that_leaves_frees_the_pipeline() -> None:
    replica = await started("diffusers", "images", FLUX2, OPTIONS | {"quality": {"high": 1000}})
    long = asyncio.create_task(edit(replica, ROUND, SLOPE, quality="high"))
    while batches(replica).steps_done < 3:
        await asyncio.sleep(0.01)
    long.cancel()
    await asyncio.wait([long])
    done = batches(replica).steps_done
    assert (await picture(replica, ROUND, SLOPE)).shape == (64, 64, 3)
    assert batches(replica).steps_done <= done + 2 + OPTIONS["steps"]


async def test_a_variation_looks_at_its_image(replica: Replica) -> None:
    one, other = [await picture(replica, image, route=VARIATIONS_ROUTE) for image in (ROUND, SLOPE)]
    assert np.abs(one - other).max() > ROUNDING


async def test_a_file_that_is_no_image_is_named_by_its_place(replica: Replica) -> None:
    images = [reference(ROUND), {"image_url": data_url(png(ROUND)[:40])}]
    (head,) = await edit(replica, image=images)
    assert (head.status, head.error["code"], head.error["param"]) == (422, "invalid_image", "image.1")


def model(name: str = FLUX2, **changes: Any) -> DiffusionModel:
    options = DiffusersOptions.model_validate(OPTIONS | changes)
    found = DiffusionModel(served("diffusers", name), options)
    found.try_out()
    return found


@pytest.fixture(scope="module")
def large_kind(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    """A Flux 2 that is no Klein: it has another text encoder and other weights for its guidance.

    Its tokenizer stands alone here; within a processor of texts and images it would need torchvision.
    """
    folder = tmp_path_factory.mktemp("flux2")
    parts = flux2.parts(folder, guidance_embeds=True)
    parts[
        "tokenizer"
    ].chat_template = "{% for one in messages %}{% for part in one.content %}{{ part.text }}{% endfor %}{% endfor %}"
    text = {"vocab_size": 384, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 31,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    encoder = Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=vision))
    Flux2Pipeline(text_encoder=encoder, **parts).save_pretrained(folder)
    return model(str(folder))


def test_the_larger_kind_of_flux_2_takes_six_images(large_kind: DiffusionModel) -> None:
    assert large_kind.profile().limits["input_images"] == 6
    shape = Shape(64, 64, 4, negative=False, beginning="references")

    def made_of(*images: Any) -> Any:
        (made,) = large_kind.generate(shape, [Prompt("a fox", "", 1, Given(images))], lambda *_: None)
        return np.asarray(made, dtype=int)

    both, first, second = made_of(ROUND, SLOPE), made_of(ROUND), made_of(SLOPE)
    assert min(np.abs(both - first).max(), np.abs(both - second).max()) > ROUNDING


class TestProfile:
    def test_how_many_images_a_model_takes(self) -> None:
        profile = model().profile()
        assert profile.capabilities == {"images", "edits", "variations"}
        assert profile.limits["input_images"] == MOST
        assert "strength" in profile.lacks
        assert "partial_images" not in profile.lacks
        other = model(str(MODELS / "pocket-image")).profile()
        assert other.limits["input_images"] == 1
        assert "strength" not in other.lacks
        none = model(edits=False).profile()
        assert "input_images" not in none.limits
        assert "strength" not in none.lacks, "that would be no reason"

    def test_it_is_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        generate = DiffusionModel.generate

        def two_at_most(self: Any, shape: Any, prompts: Any, watch: Any) -> Any:
            if shape.beginning == "references" and len(prompts[0].given.images) > 2:
                raise RuntimeError("out of memory")
            return generate(self, shape, prompts, watch)

        monkeypatch.setattr(DiffusionModel, "generate", two_at_most)
        assert model().profile().limits["input_images"] == 2

    @pytest.mark.parametrize(
        ("changes", "param", "said"),
        [
            ({"image": [reference(ROUND)] * (MOST + 1)}, "image.4", "has 5 images; this model takes at most 4"),
            ({"image": [reference(ROUND)] * 2, "mask": reference(hole())}, "mask", "capability `masks`"),
        ],
        ids=["too many", "a mask"],
    )
    def test_what_is_refused(self, replica: Replica, changes: Any, param: str, said: str) -> None:
        with pytest.raises(ApiError, match=said) as refused:
            adjust(EDITS_TABLE, {"prompt": "a fox"} | changes, replica.engine.profile())
        assert (refused.value.code, refused.value.param) == ("unsupported_capability", param)

    def test_a_strength_is_dropped_and_reported(self, replica: Replica) -> None:
        body = {"prompt": "a fox", "image": [reference(ROUND)], "strength": 0.5}
        adjusted = adjust(EDITS_TABLE, body, replica.engine.profile())
        assert "strength" not in adjusted.engine
        assert [(one.name, one.action) for one in adjusted.adjustments] == [("strength", "drop")]


@pytest.mark.parametrize(
    ("sides", "read"),
    [
        ((1024, 1024), (1024, 1024)),
        ((4000, 3000), (1184, 880)),
        ((640, 480), (640, 480)),
        ((10, 40), (64, 256)),
        ((20_000, 300), (1024, 128)),
        ((1, 100_000), (64, 512)),
    ],
    ids=["usual", "large", "small", "tiny", "long", "a line"],
)
def test_a_reference_has_its_own_form_within_what_the_pipeline_takes(
    sides: tuple[int, int], read: tuple[int, int]
) -> None:
    assert editing.reference(Image.new("RGB", sides), (1024, 1024), 16).size == read
