"""The parameters of POST /v1/images/generations."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.parameters.kinds import Choice, Flag, Number, Reading, Text, wrong_type, wrong_value
from app.parameters.row import Dropped, Parameter, Table, Treatment, ignored, refused
from contract.profile import Profile

DIFFUSERS = ("diffusers",)
MAX_PROMPT = 32_000
SIZE = re.compile(r"([0-9]{1,18})x([0-9]{1,18})")
QUALITIES = ("low", "medium", "high", "xhigh", "max")
OLDER_QUALITIES = {"standard": "medium", "hd": "high"}


@dataclass(frozen=True, slots=True)
class Size:
    """`auto`, or a width and a height in pixels; each is rounded to the model's multiple, within its bounds."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, str):
            raise wrong_type(name, self.description())
        if value == "auto":
            return Reading(value)
        sides = SIZE.fullmatch(value)
        if sides is None or "0" in (sides[1].lstrip("0") or "0", sides[2].lstrip("0") or "0"):
            raise wrong_value(name, self.description())
        legal = "x".join(map(str, _legal_sides(int(sides[1]), int(sides[2]), profile)))
        return Reading(value) if legal == value else Reading(legal, (value, legal))

    def description(self) -> str:
        return '"auto" or WIDTHxHEIGHT in pixels, each at least 1, such as "1024x1024"'

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^(auto|{SIZE.pattern})$"}


def _legal_sides(width: int, height: int, profile: Profile) -> tuple[int, int]:
    """The legal sides that are nearest; where both together are too many pixels, smaller ones of that form."""
    width, height = _legal_side(width, profile), _legal_side(height, profile)
    most = profile.limit("max_pixels")
    if most is None or width * height <= most:
        return width, height
    shrink = math.sqrt(most / (width * height))
    multiple = profile.limit("size_multiple") or 1
    floored = (max(multiple, int(side * shrink) // multiple * multiple) for side in (width, height))
    return tuple(floored)  # type: ignore[return-value]


def _legal_side(side: int, profile: Profile) -> int:
    multiple = profile.limit("size_multiple") or 1
    lowest, highest = profile.limit("min_side") or multiple, profile.limit("max_side") or side
    lowest, highest = -(-lowest // multiple) * multiple, highest // multiple * multiple
    rounded = max(1, (side + multiple // 2) // multiple) * multiple
    return min(max(rounded, lowest), max(highest, lowest))


def _streams(kept: dict[str, Any], _: Profile) -> Iterator[tuple[str, float, float]]:
    """A stream shows one image, and carries it."""
    if not kept.get("stream"):
        return
    if kept.get("response_format") == "url":
        raise wrong_value("response_format", '"b64_json", or left out, where `stream` is true')
    if kept.get("n", 1) > 1:
        yield "n", kept["n"], 1


def _mean_something(kept: dict[str, Any], profile: Profile) -> Iterator[Dropped]:
    """Parameters that have an effect only beside others, or that the operator has said nothing for."""
    output_format = kept.get("output_format", "png")
    if kept.get("partial_images") and not kept.get("stream"):
        yield Dropped("partial_images", "only a stream shows unfinished images")
    if "output_compression" in kept and output_format == "png":
        yield Dropped("output_compression", "png keeps every pixel; jpeg and webp have a quality")
    if kept.get("background") == "transparent" and output_format == "jpeg":
        yield Dropped("background", "jpeg has no transparency")
    quality = kept.get("quality")
    if quality is not None and profile.limit(f"{OLDER_QUALITIES.get(quality, quality)}_steps") is None:
        yield Dropped("quality", "the operator has set no steps for it")


IMAGES = Table(
    rows=(
        Parameter("model", Text(), "The id of a model. May be left out under /v1/{pipeline}/.", Treatment.GATEWAY),
        Parameter("prompt", Text(1, MAX_PROMPT), "What to show.", required=True, capability="images"),
        Parameter("n", Number(1, "max_images", integer=True), "How many images."),
        Parameter("size", Size(), "Rounded to the model's multiple.", absent=("auto",)),
        Parameter(
            "quality",
            Choice(("auto", *QUALITIES, *OLDER_QUALITIES)),
            "Steps, by the operator.",
            feature="quality",
            absent=("auto",),
        ),
        Parameter("response_format", Choice(("b64_json", "url")), "The image itself, or where it can be fetched."),
        Parameter("output_format", Choice(("png", "jpeg", "webp")), "How images are encoded."),
        Parameter("output_compression", Number(0, 100, integer=True), "Quality of jpeg and webp."),
        Parameter(
            "background",
            Choice(("auto", "opaque", "transparent")),
            "Behind the picture.",
            feature="transparency",
            absent=("auto", "opaque"),
        ),
        Parameter("stream", Flag(), "Send events while the image is made."),
        Parameter(
            "partial_images",
            Number(0, 3, integer=True),
            "How many unfinished images a stream shows.",
            feature="partial_images",
            absent=(0,),
        ),
        Parameter("user", Text(), "Written to the log.", Treatment.ACCEPT),
        # What diffusers has beyond OpenAI.
        Parameter("seed", Number(0, 2**63 - 1, integer=True), "The same seed gives the same image.", engines=DIFFUSERS),
        Parameter(
            "negative_prompt",
            Text(0, MAX_PROMPT),
            "What not to show.",
            engines=DIFFUSERS,
            feature="negative_prompt",
        ),
        ignored("moderation", "The operator decides."),
        ignored("style", "Say it in the prompt."),
        refused("image", "editing is not served; this route makes images from text."),
    ),
    rules=(_streams, _mean_something),
)
