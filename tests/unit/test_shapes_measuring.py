"""The measure of a picture by which `shapes` is judged: right on drawn pictures, and wrong on every other one."""

import random
from typing import Any

import numpy as np
import pytest

from local_models.shapes_measuring import found
from local_models.shapes_pictures import COLOURS, RADII, SHAPES, SIDE, Combination, combinations, drawn, scene

TRAINED, HELD_OUT = combinations()
SIZES = list(RADII)


def picture(combination: Combination, size: str = "", place: str = "centre", seed: int = 1) -> Any:
    return drawn(scene(combination, random.Random(seed), size, place))  # noqa: S311


def test_held_out_combinations_are_never_trained_on_and_hold_every_word() -> None:
    assert len(HELD_OUT) >= 80
    assert not set(TRAINED) & set(HELD_OUT)
    for some in (TRAINED, HELD_OUT):
        colours, shapes, backgrounds = (set(column) for column in zip(*some, strict=True))
        assert colours == backgrounds == set(COLOURS)
        assert shapes == set(SHAPES)


@pytest.mark.parametrize("size", SIZES)
def test_it_is_right_on_what_is_drawn(size: str) -> None:
    for seed, combination in enumerate(HELD_OUT):
        measured = found(picture(combination, size, "top left", seed))
        assert measured.is_right(combination)
        assert measured.alike > 0.95


def test_it_is_right_where_pixels_are_a_little_off() -> None:
    noise = np.random.default_rng(1)
    for combination in HELD_OUT[:20]:
        pixels = picture(combination) + noise.normal(0, 6, (SIDE, SIDE, 3))
        assert found(pixels.clip(0, 255)).is_right(combination)


def test_another_colour_shape_or_background_is_wrong() -> None:
    asked = Combination("red", "circle", "blue")
    others = [asked._replace(colour=name) for name in COLOURS if name not in (asked.colour, asked.background)]
    others += [asked._replace(shape=name) for name in SHAPES if name != asked.shape]
    others += [asked._replace(background=name) for name in COLOURS if name not in (asked.colour, asked.background)]
    others.append(Combination("blue", "circle", "red"))
    assert not any(found(picture(other)).is_right(asked) for other in others)


def test_no_shape_two_shapes_and_a_blot_are_none() -> None:
    asked = Combination("red", "circle", "blue")
    empty = np.full((SIDE, SIDE, 3), COLOURS["blue"], dtype="float32")
    two = np.where(
        np.arange(SIDE)[:, None, None] < SIDE // 2,
        picture(asked, "small", "top"),
        picture(asked, "small", "bottom"),
    )
    blot = empty.copy()
    blot[90:170, 40:220] = COLOURS["red"]  # a bar is no square
    assert [found(one).shape for one in (empty, two, blot)] == ["", "", ""]


def test_size_and_place_are_measured() -> None:
    asked = Combination("green", "star", "white")
    small, large = (found(picture(asked, size)) for size in ("small", "large"))
    assert large.area > 2.5 * small.area
    left, right = (found(picture(asked, "small", place)) for place in ("left", "bottom right"))
    assert left.centre[0] < SIDE / 2 - 40
    assert right.centre[0] > SIDE / 2 + 40
    assert right.centre[1] > SIDE / 2 + 40
