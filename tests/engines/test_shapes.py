"""The image model of `local.yaml`: what is on its pictures, measured, for captions that it was never trained on."""

import base64
import io
from typing import Any

import numpy as np
import orjson
import pytest
import yaml
from PIL import Image

from contract.options.diffusers import DiffusersOptions
from contract.project import PROJECT_FOLDER
from contract.protocol import IMAGES_ROUTE, ResponseHead
from deployments.images.pipeline import DiffusionModel, Prompt, Shape
from local_models.shapes_measuring import Found, found
from local_models.shapes_pictures import SIDE, combinations
from tests.engines.replicas import items_of, served, started

FOLDER = PROJECT_FOLDER / "local_models" / "shapes"
LOCAL = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "local.yaml").read_text())
(ENTRY,) = (one for one in LOCAL["applications"][0]["args"]["models"] if one["id"] == "shapes")
OPTIONS = ENTRY["engine_kwargs"]
HELD_OUT = combinations()[1][:40]
FORMS = (
    "a {colour} {shape} on a {background} background",
    "Draw me a {colour} {shape} in front of a {background} backdrop!",
    "{colour} {shape}, {background} background",
    "A picture of one {colour} {shape} on {background}.",
    "a {background} background with a {colour} {shape}",
)
BATCH = 4


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    loaded = DiffusionModel(served("diffusers", str(FOLDER)), DiffusersOptions.model_validate(OPTIONS))
    loaded.try_out()
    return loaded


def pictures(model: DiffusionModel, captions: list[str], watch: Any = lambda _, __: None) -> list[Any]:
    """Each caption's, of a seed of its own."""
    shape = Shape(SIDE, SIDE, model.default_steps, negative=False)
    prompts = [Prompt(caption, "", seed) for seed, caption in enumerate(captions)]
    batches = [prompts[first : first + BATCH] for first in range(0, len(prompts), BATCH)]
    return [image for batch in batches for image in model.generate(shape, batch, watch)]


def measured(model: DiffusionModel, *captions: str) -> list[Found]:
    return [found(image) for image in pictures(model, list(captions))]


def test_nine_of_ten_held_out_captions_get_their_shape_colour_and_background(model: DiffusionModel) -> None:
    captions = [FORMS[index % len(FORMS)].format(**asked._asdict()) for index, asked in enumerate(HELD_OUT)]
    results = measured(model, *captions)
    wrong = {
        caption: result
        for caption, asked, result in zip(captions, HELD_OUT, results, strict=True)
        if not result.is_right(asked)
    }
    assert len(wrong) <= len(HELD_OUT) // 10, wrong


def test_sizes_and_places_are_those_asked_for(model: DiffusionModel) -> None:
    captions = (
        "a small red circle in the top left corner on a white background",
        "a tiny blue square at the bottom right on yellow",
        "a big red circle on a white background",
    )
    corner, other, large = measured(model, *captions)
    assert corner.centre[0] < SIDE / 2 > corner.centre[1]
    assert other.centre[0] > SIDE / 2 < other.centre[1]
    assert large.area > 2 * corner.area


def test_what_a_caption_leaves_out_has_a_default(model: DiffusionModel) -> None:
    red, white, nothing = measured(model, "a red heart", "a white square", "hello, world")
    assert (red.colour, red.shape, red.background) == ("red", "heart", "white")
    assert (white.colour, white.shape, white.background) == ("white", "square", "black")
    assert nothing.background


def test_unfinished_pictures_come_nearer_to_the_finished_one(model: DiffusionModel) -> None:
    seen: list[Any] = []
    (image,) = pictures(
        model,
        ["a green star on a black background"],
        lambda _, preview: seen.append(np.asarray(preview()[0], dtype=float)),
    )
    finished = np.asarray(image, dtype=float)
    distances = [float(np.abs(one - finished).mean()) for one in seen]
    assert len(distances) == model.default_steps
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 20 * max(distances[-1], 1)


async def test_the_engine_streams_it_becoming() -> None:
    replica = await started("diffusers", "images", str(FOLDER), OPTIONS)
    body = {"prompt": "a purple triangle on a yellow background", "seed": 3, "stream": True, "partial_images": 3}
    head, *events = await items_of(replica, IMAGES_ROUTE, body)
    assert isinstance(head, ResponseHead)
    data = [orjson.loads(event.partition(b"data: ")[2]) for event in events if isinstance(event, bytes) and event]
    assert [one["type"].rpartition(".")[2] for one in data] == ["partial_image"] * 3 + ["completed"]
    *partial, last = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one["b64_json"]))), dtype=float) for one in data
    )
    assert last.shape == (SIDE, SIDE, 3)
    distances = [float(np.abs(one - last).mean()) for one in partial]
    assert distances == sorted(distances, reverse=True)
    assert found(last).shape == "triangle"


def test_its_weights_are_small_safetensors_of_half_precision() -> None:
    from safetensors import safe_open

    files = list(FOLDER.rglob("*.safetensors"))
    assert len(files) == 3
    for file in files:
        with safe_open(file, framework="np") as weights:
            assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118 - no dict
    assert sum(file.stat().st_size for file in FOLDER.rglob("*")) <= 15_000_000
    assert not [file for file in FOLDER.rglob("*") if file.suffix in {".bin", ".pt", ".pth", ".py"}]
