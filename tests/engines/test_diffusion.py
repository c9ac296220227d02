"""diffusers behind our interface: a picture is the same whoever else is in its batch; unwanted work ends."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, IFPipeline, UNet2DConditionModel
from transformers import T5Config, T5EncoderModel

from contract.options.diffusers import DiffusersOptions
from deployments.images.pipeline import DiffusionModel, PipelineError, Prompt, Shape, Stopped, _prompt_limit
from local_models.image import _t5_tokenizer
from tests.engines.pipelines import MODELS, OPTIONS, ROUNDING
from tests.engines.replicas import served

SHAPE = Shape(64, 64, 4, negative=False)


def load(name: str, **changes: Any) -> DiffusionModel:
    model = DiffusionModel(served("diffusers", str(MODELS / name)), DiffusersOptions.model_validate(OPTIONS | changes))
    model.try_out()
    return model


@pytest.fixture(scope="module", params=["pocket-image", "pocket-flux"])
def model(request: pytest.FixtureRequest) -> DiffusionModel:
    return load(request.param)


def quietly(_: int, __: Any) -> None:
    """Watch nothing."""


def generate(model: DiffusionModel, *prompts: Prompt, shape: Shape = SHAPE) -> list[Any]:
    return [np.asarray(image, dtype=int) for image in model.generate(shape, list(prompts), quietly)]


def prompt_of(seed: int, text: str = "a fox") -> Prompt:
    return Prompt(text, "", seed)


def test_a_seed_gives_its_picture_alone_and_in_a_batch(model: DiffusionModel) -> None:
    together = generate(model, prompt_of(1), prompt_of(2, "a boat on a lake"), prompt_of(3))
    for seed, prompt, found in zip((1, 2, 3), ("a fox", "a boat on a lake", "a fox"), together, strict=True):
        (alone,) = generate(model, prompt_of(seed, prompt))
        assert np.abs(alone - found).max() <= ROUNDING
    assert np.abs(together[0] - together[2]).mean() > 10


def test_sides_are_those_asked_for(model: DiffusionModel) -> None:
    (wide,) = generate(model, prompt_of(1), shape=Shape(96, 64, 2, negative=False))
    assert wide.shape == (64, 96, 3)


def test_what_a_watcher_sees_last_is_the_image(model: DiffusionModel) -> None:
    seen = []

    def watch(_: int, preview: Any) -> None:
        seen.append(np.asarray(preview()[0], dtype=int))

    (image,) = model.generate(SHAPE, [prompt_of(5)], watch)
    assert len(seen) == SHAPE.steps
    assert np.abs(seen[-1] - np.asarray(image, dtype=int)).max() <= ROUNDING
    changes = [np.abs(one - seen[-1]).mean() for one in seen]
    assert changes[0] > changes[-2] > 0


def test_a_watcher_stops_the_pipeline_and_the_next_picture_is_right(model: DiffusionModel) -> None:
    (before,) = generate(model, prompt_of(6))
    steps = []

    def stop(done: int, _: Any) -> None:
        steps.append(done)
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        model.generate(SHAPE, [prompt_of(6)], stop)
    assert steps == [1, 2]
    (after,) = generate(model, prompt_of(6))
    assert np.array_equal(before, after)


def test_what_the_model_can_do_is_found(model: DiffusionModel) -> None:
    profile = model.profile()
    assert profile.capabilities == {"images", "edits", "masks", "variations"}
    assert "partial_images" not in profile.lacks
    assert set(profile.lacks) >= {"quality", "transparency"}


def test_negative_prompts_are_read_by_stable_diffusion_and_by_flux_where_it_pays_for_them() -> None:
    assert "negative_prompt" not in load("pocket-image").profile().lacks
    assert "negative_prompt" in load("pocket-flux").profile().lacks
    paying = load("pocket-flux", true_cfg_scale=3)
    assert "negative_prompt" not in paying.profile().lacks
    without, with_one = (
        generate(paying, Prompt("a fox", words, 3), shape=SHAPE._replace(negative=bool(words)))[0]
        for words in ("", "a boat")
    )
    assert np.abs(without - with_one).max() > ROUNDING


def test_prompts_are_counted_by_the_tokenizer_with_most_room() -> None:
    assert load("pocket-image").profile().limits["context_length"] == 77
    assert load("pocket-flux").profile().limits["context_length"] == 512


def test_sizes_come_from_the_model_unless_the_entry_names_them() -> None:
    assert load("pocket-image", default_size=None).default_sides == (64, 64)
    assert load("pocket-image").size_multiple == 8
    assert load("pocket-flux", default_size="128x96").default_sides == (128, 96)
    assert load("pocket-flux").size_multiple == 16


@pytest.fixture(scope="module")
def pixels_model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    """A DeepFloyd IF of random weights: it has no VAE, makes pixels, and calls its watcher in an older way."""
    folder = tmp_path_factory.mktemp("pixels")
    save_pixel_pipeline(folder)
    model = DiffusionModel(served("diffusers", str(folder)), DiffusersOptions(device="cpu", steps=4, min_side=32))
    model.try_out()
    return model


def save_pixel_pipeline(folder: Path) -> None:
    torch.manual_seed(0)
    words = _t5_tokenizer()
    text_encoder = T5EncoderModel(
        T5Config(vocab_size=len(words), d_model=32, d_ff=64, d_kv=8, num_heads=4, num_layers=1)
    )
    unet = UNet2DConditionModel(
        sample_size=32,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        in_channels=3,
        out_channels=6,
        cross_attention_dim=32,
        encoder_hid_dim=32,
        attention_head_dim=8,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift",
        act_fn="gelu",
    )
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range")
    IFPipeline(
        tokenizer=words,
        text_encoder=text_encoder,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def test_a_pipeline_without_a_vae_has_no_unfinished_images(pixels_model: DiffusionModel) -> None:
    assert (pixels_model.default_sides, pixels_model.size_multiple) == ((32, 32), 8)
    assert set(pixels_model.profile().lacks) >= {"partial_images", "transparency"}
    together = generate(pixels_model, prompt_of(1), prompt_of(2), shape=Shape(32, 32, 4, negative=False))
    (alone,) = generate(pixels_model, prompt_of(2), shape=Shape(32, 32, 4, negative=False))
    assert np.abs(together[1] - alone).max() <= ROUNDING


def test_a_pipeline_with_an_older_watcher_is_stopped_too(pixels_model: DiffusionModel) -> None:
    steps = []

    def stop(done: int, _: Any) -> None:
        steps.append(done)
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        pixels_model.generate(Shape(32, 32, 4, negative=False), [prompt_of(1)], stop)
    assert steps == [1, 2]


class Tokenizer:
    def __init__(self, room: int) -> None:
        self.model_max_length = room


@pytest.mark.parametrize(
    ("parts", "asked", "limit", "counted"),
    [
        ({"tokenizer": 77}, [], 77, "tokenizer"),
        ({"tokenizer": 77, "tokenizer_2": 77}, [], 77, "tokenizer"),
        ({"tokenizer": 77, "tokenizer_2": 512}, [512], 512, "tokenizer_2"),
        ({"tokenizer": 77, "tokenizer_2": 77, "tokenizer_3": 512}, [256], 256, "tokenizer_3"),
        ({"tokenizer": 77, "tokenizer_2": 77, "tokenizer_3": None}, [256], 77, "tokenizer"),
        ({"processor": 131_072}, [], 8192, "processor"),
        ({"processor": 131_072, "default_max_sequence_length": 1024}, [None], 1024, "processor"),
        ({"tokenizer": int(1e30)}, [], 8192, "tokenizer"),
    ],
    ids=["sd", "sdxl", "flux", "sd3", "sd3 without t5", "qwen-image 2.1", "nucleus", "no bound"],
)
def test_how_long_a_prompt_may_be(parts: dict[str, Any], asked: list[int | None], limit: int, counted: str) -> None:
    made = {name: Tokenizer(room) if room and "tokenizer" in name else room for name, room in parts.items()}
    if "processor" in parts:
        made["processor"] = SimpleNamespace(tokenizer=Tokenizer(parts["processor"]))
    takes = {"max_sequence_length": SimpleNamespace(default=asked[0])} if asked else {}
    found, tokenizer = _prompt_limit(SimpleNamespace(**made), takes)
    assert (found, tokenizer) == (limit, getattr(made[counted], "tokenizer", made[counted]))


def test_a_processor_in_a_tokenizer_s_place_has_it_inside() -> None:
    inner = Tokenizer(131_072)
    pipe = SimpleNamespace(tokenizer=SimpleNamespace(tokenizer=inner))
    assert _prompt_limit(pipe, {"max_sequence_length": SimpleNamespace(default=512)}) == (512, inner)


def test_a_pipeline_that_makes_another_size_says_what_to_set() -> None:
    model = DiffusionModel(
        served("diffusers", str(MODELS / "pocket-flux")),
        DiffusersOptions.model_validate(OPTIONS | {"size_multiple": 8, "default_size": "72x72"}),
    )
    with pytest.raises(PipelineError, match="it made 64x64 where 72x72 was asked for; set default_size"):
        model.try_out()


@pytest.mark.parametrize(
    ("name", "options", "reported"),
    [
        ("pocket-flux", {"attention_backend": "fastest"}, "attention_backend: "),
        ("pocket-image", {"cache": {"kind": "first_block"}}, "cache: "),
        ("pocket-flux", {"device": "quantum"}, "device: "),
        ("pocket-flux", {"quantization": {"backend": "halves"}}, "quantization: "),
    ],
)
def test_an_option_that_a_pipeline_cannot_have_is_named(name: str, options: dict[str, Any], reported: str) -> None:
    with pytest.raises(PipelineError, match=f"^{reported}.*Change the option, or leave it out"):
        load(name, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"vae_tiling": True},
        {"dtype": "bfloat16"},
        {"attention_backend": "native"},
        {"cache": {"kind": "first_block", "threshold": 0.1}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_makes_a_pipeline_faster_or_smaller_still_makes_pictures(options: dict[str, Any]) -> None:
    (image,) = generate(load("pocket-flux", **options), prompt_of(1))
    assert image.std() > 1


def test_a_compiled_pipeline_makes_the_same_image() -> None:
    plain = generate(load("pocket-flux"), prompt_of(1))[0]
    compiled = generate(load("pocket-flux", compile={"scope": "repeated_blocks"}), prompt_of(1))[0]
    assert np.abs(plain - compiled).max() <= 2 * ROUNDING
