"""The pictures that `shapes` learns from, and the captions that name what is on them.

A picture has one shape of one colour on a background of another; what a caption leaves out has a default or is left
to chance. Everything comes from the random numbers that are handed in, so a seed fixes it.
"""

import itertools
import math
import random
from dataclasses import dataclass
from typing import Any, NamedTuple

SIDE = 256  # pixels
SUPERSAMPLING = 4  # of the edges

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 38, 44),
    "orange": (248, 140, 28),
    "yellow": (250, 220, 50),
    "green": (40, 165, 72),
    "blue": (40, 84, 214),
    "purple": (128, 50, 170),
    "pink": (250, 150, 195),
    "grey": (140, 144, 150),
    "black": (18, 18, 22),
    "white": (248, 248, 248),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
RADII = {"small": (46, 54), "": (68, 80), "large": (94, 102)}  # pixels, from and to
PLACES = {
    "centre": (0, 0),
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
}
MARGIN, JITTER = 12, 6  # pixels between a shape and the border; how far it stands from its place
# What the model reads. The tokenizer turns the words on the right into those on the left, and drops all others.
LINKS = ("on", "with", "background")
SYNONYMS: dict[str, tuple[str, ...]] = {
    "grey": ("gray",),
    "purple": ("violet",),
    "circle": ("circles", "disc", "disk", "dot", "ball"),
    "square": ("squares", "box"),
    "triangle": ("triangles",),
    "star": ("stars",),
    "heart": ("hearts",),
    "cross": ("crosses", "plus"),
    "small": ("tiny", "little"),
    "large": ("big", "huge", "giant"),
    "centre": ("center", "middle"),
    "top": ("upper",),
    "bottom": ("lower",),
    "background": ("backdrop", "backgrounds"),
    "on": ("over", "against", "before", "front"),
}
WORDS = (*COLOURS, *SHAPES, "small", "large", "centre", "left", "right", "top", "bottom", *LINKS)
HELD_OUT = 6  # every sixth of the combinations is never trained on


class Combination(NamedTuple):
    """What the test asks about."""

    colour: str
    shape: str
    background: str


@dataclass(frozen=True)
class Scene:
    """One picture, told in words and pixels."""

    colour: str
    shape: str
    background: str
    size: str  # "small", "" or "large"
    place: str
    radius: float
    centre: tuple[float, float]


def combinations() -> tuple[list[Combination], list[Combination]]:
    """Those to train on and those held out, always the same ones. Colour and background differ."""
    every = [
        Combination(colour, shape, background)
        for colour, shape, background in itertools.product(COLOURS, SHAPES, COLOURS)
        if colour != background
    ]
    random.Random(16).shuffle(every)  # noqa: S311 - nothing secret
    return every[len(every) // HELD_OUT :], every[: len(every) // HELD_OUT]


def default_background(colour: str) -> str:
    """What a shape stands on where its caption names no background."""
    return "black" if colour == "white" else "white"


def scene(combination: Combination, chance: random.Random, size: str | None = None, place: str | None = None) -> Scene:
    """A picture of the combination; size and place are left to chance where they are None."""
    size = chance.choice(["small", "", "", "large"]) if size is None else size
    place = chance.choice(["centre"] * 5 + list(PLACES)) if place is None else place
    radius = chance.uniform(*RADII[size])
    room = SIDE / 2 - radius - MARGIN
    x, y = (SIDE / 2 + side * (room - JITTER) + chance.uniform(-JITTER, JITTER) for side in PLACES[place])
    return Scene(*combination, size, place, radius, (x, y))


def outline(shape: str) -> list[tuple[float, float]]:
    """A polygon within one unit of its centre; y points down."""
    if shape == "circle":
        return _polar(64, lambda _: 1.0)
    if shape == "square":
        return [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]
    if shape == "triangle":
        return [(0.0, -0.95), (1.0, 0.8), (-1.0, 0.8)]
    if shape == "star":
        return _polar(10, lambda corner: 0.42 if corner % 2 else 1.05)
    if shape == "cross":
        arm, end = 0.32, 0.98
        quarter = [(arm, -end), (arm, -arm), (end, -arm)]
        turned = [
            quarter,
            *([(-y, x) for x, y in quarter], [(-x, -y) for x, y in quarter], [(y, -x) for x, y in quarter]),
        ]
        return [point for corners in turned for point in corners]
    if shape == "heart":
        turns = [2 * math.pi * step / 64 for step in range(64)]
        return [
            (
                math.sin(t) ** 3,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) + 2.5) / 16,
            )
            for t in turns
        ]
    raise ValueError(f"there is no shape {shape!r}; there are {', '.join(SHAPES)}")


def coverage(shape: str, radius: float, centre: tuple[float, float], side: int = SIDE) -> Any:
    """How much of each pixel the shape covers: numpy, side x side, 0 to 1."""
    import numpy as np
    from PIL import Image, ImageDraw

    large = Image.new("L", (side * SUPERSAMPLING, side * SUPERSAMPLING))
    points = [(centre[0] + x * radius, centre[1] + y * radius) for x, y in outline(shape)]
    ImageDraw.Draw(large).polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points], fill=255)
    return np.asarray(large.reduce(SUPERSAMPLING), dtype="float32") / 255


def drawn(what: Scene, crop: tuple[int, int, int] = (0, 0, SIDE)) -> Any:
    """The picture, or the square at (x, y) of so many pixels a side: numpy, height x width x 3, 0 to 255."""
    left, top, side = crop
    covered = coverage(what.shape, what.radius, (what.centre[0] - left, what.centre[1] - top), side)
    return painted(covered, COLOURS[what.colour], COLOURS[what.background])


def painted(covered: Any, colour: Any, background: Any) -> Any:
    """A shape of one colour (red, green, blue; 0 to 255) on another: numpy, height x width x 3."""
    import numpy as np

    shape, ground = np.float32(colour), np.float32(background)
    return ground + covered[..., None] * (shape - ground)


def caption(what: Scene, chance: random.Random) -> str:
    """A caption of the picture, in one of the forms that people use.

    Some captions leave out what another picture could show as well: the model then chooses. The background is left
    out only where it is the default, the place only where it is the centre.
    """
    size = what.size if chance.random() < 0.97 else ""
    colour = what.colour if chance.random() < 0.96 else ""
    shape = what.shape if chance.random() < 0.97 else ""
    place = "" if what.place == "centre" and chance.random() < 0.8 else what.place
    thing = _joined(size, colour, shape, place) if chance.random() < 0.8 else _joined(place, size, colour, shape)
    if what.background == default_background(what.colour) and chance.random() < 0.6:
        return thing
    background = what.background
    form = chance.random()
    if form < 0.45:
        return _joined(thing, "on", background, "background")
    if form < 0.6:
        return _joined(thing, "on", background)
    if form < 0.75:
        return _joined(thing, background, "background")
    if form < 0.85:
        return _joined(thing, "with", background, "background")
    if form < 0.93:
        return _joined(background, "background", "with", thing)
    return _joined("on", background, "background", thing)


def _joined(*words: str) -> str:
    return " ".join(word for word in words if word)


def _polar(corners: int, radius: Any) -> list[tuple[float, float]]:
    """A polygon that begins at the top."""
    turns = [(corner, 2 * math.pi * corner / corners) for corner in range(corners)]
    return [(radius(corner) * math.sin(turn), -radius(corner) * math.cos(turn)) for corner, turn in turns]
