"""POST /v1/images/generations."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.budgets.estimate import CountedFields
from app.endpoints.answers import INTEGER, STRING, Component, array, one_of, record
from app.endpoints.endpoint import Endpoint, Exchange, json_body
from app.parameters.adjust import adjust
from app.parameters.kinds import Number, OneOf, Reading, Text, wrong_type, wrong_value
from app.parameters.row import MODEL, STREAM, USER, Dropped, Parameter, Table, Treatment, ignored, refused
from contract.errors import ApiError
from contract.image_sides import within_pixels
from contract.image_tokens import image_tokens
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, IMAGES_ROUTE

DIFFUSERS = ("diffusers",)
MAX_PROMPT = 32_000
SIZE = re.compile(r"([0-9]{1,18})x([0-9]{1,18})")
QUALITIES = ("low", "medium", "high", "xhigh", "max")
OUTPUT_FORMATS = ("png", "jpeg", "webp")
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
    if most is None:
        return width, height
    return within_pixels(width, height, most, profile.limit("size_multiple") or 1)


def _legal_side(side: int, profile: Profile) -> int:
    multiple = profile.limit("size_multiple") or 1
    lowest, highest = profile.limit("min_side") or multiple, profile.limit("max_side") or side
    lowest, highest = -(-lowest // multiple) * multiple, highest // multiple * multiple
    rounded = max(1, (side + multiple // 2) // multiple) * multiple
    return min(max(rounded, lowest), max(highest, lowest))


def _streams(legal: dict[str, Any], _: Profile) -> Iterator[tuple[str, float, float]]:
    """A stream has one image, in base64."""
    if not legal.get("stream"):
        return
    if legal.get("response_format") == "url":
        raise wrong_value("response_format", '"b64_json", or left out, where `stream` is true')
    if legal.get("n", 1) > 1:
        yield "n", legal["n"], 1


def _have_an_effect(legal: dict[str, Any], profile: Profile) -> Iterator[Dropped]:
    """Parameters that have an effect only beside others, or where the operator has configured them."""
    output_format = legal.get("output_format", "png")
    if legal.get("partial_images") and not legal.get("stream"):
        yield Dropped("partial_images", "only a stream has partial images")
    if "output_compression" in legal and output_format == "png":
        yield Dropped("output_compression", "png has no compression level; jpeg and webp have one")
    if legal.get("background") == "transparent" and output_format == "jpeg":
        yield Dropped("background", "jpeg has no transparency")
    quality = legal.get("quality")
    if quality is not None and profile.limit(f"{OLDER_QUALITIES.get(quality, quality)}_steps") is None:
        yield Dropped("quality", "the operator has set no inference steps for it")


COUNT = Parameter("n", Number(1, "max_images", integer=True), "Number of images to generate.")
SIZE_NOTE = "Size of the images. Rounded to the model's multiple."
QUALITY = Parameter(
    "quality",
    OneOf(("auto", *QUALITIES, *OLDER_QUALITIES)),
    "Quality of the images. The operator sets the inference steps of each.",
    feature="quality",
    absent=("auto",),
)
RESPONSE_FORMAT = Parameter(
    "response_format",
    OneOf(("b64_json", "url")),
    "Whether to return the image in base64, or a URL where it can be downloaded.",
    Treatment.GATEWAY,
)
FILE_FORMAT = (
    Parameter("output_format", OneOf(OUTPUT_FORMATS), "File format of the images."),
    Parameter("output_compression", Number(0, 100, integer=True), "Compression level of jpeg and webp."),
    Parameter(
        "background",
        OneOf(("auto", "opaque", "transparent")),
        "Background of the images.",
        feature="transparency",
        absent=("auto", "opaque"),
    ),
)
STREAMED = (
    STREAM,
    Parameter(
        "partial_images",
        Number(0, 3, integer=True),
        "Number of partial images in a stream.",
        feature="partial_images",
        absent=(0,),
    ),
)
# What diffusers has beyond OpenAI.
SEED = Parameter("seed", Number(0, 2**63 - 1, integer=True), "The same seed gives the same image.", engines=DIFFUSERS)
NEGATIVE_PROMPT = Parameter(
    "negative_prompt",
    Text(0, MAX_PROMPT),
    "Description of what the image must not show.",
    engines=DIFFUSERS,
    feature="negative_prompt",
)
MODERATION = ignored("moderation", "It is set by the operator.")
RULES = (_streams, _have_an_effect)

TABLE = Table(
    rows=(
        MODEL,
        Parameter("prompt", Text(1, MAX_PROMPT), "Description of the image.", required=True, capability="images"),
        COUNT,
        Parameter("size", Size(), SIZE_NOTE, absent=("auto",)),
        QUALITY,
        RESPONSE_FORMAT,
        *FILE_FORMAT,
        *STREAMED,
        USER,
        SEED,
        NEGATIVE_PROMPT,
        MODERATION,
        ignored("style", "Describe the style in the prompt."),
        refused("image", "this endpoint generates images from text; /v1/images/edits changes one."),
    ),
    rules=RULES,
)


def engine_body(parameters: dict[str, Any], model_id: str) -> bytes:
    """The parameters, with today's name of the quality."""
    if (quality := parameters.get("quality")) in OLDER_QUALITIES:
        parameters = parameters | {"quality": OLDER_QUALITIES[quality]}
    return json_body(parameters, model_id)


def wanted_images(parameters: dict[str, Any]) -> int:
    """How many images the engine is asked for."""
    return int(parameters.get("n", 1))


def answer_tokens(table: Table, request: dict[str, Any], profile: Profile) -> int:
    """Tokens that the images of any request will count as; none where it is going to be refused."""
    try:
        parameters = adjust(table, request, profile).engine
    except ApiError:
        return 0
    size = parameters.get("size")
    sides = size.split("x") if size else (profile.limit(name) or 0 for name in ("default_width", "default_height"))
    width, height = map(int, sides)
    return image_tokens(width, height, parameters.get("n", 1))


def check_host(exchange: Exchange) -> None:
    """Refuse images by URL for a client whose Host cannot stand in a URL."""
    if _by_url(exchange):
        exchange.image_store.origin(exchange.headers.get("host"))


async def publish(exchange: Exchange, answer: bytes) -> bytes:
    """The answer, with URLs in place of the images where the client wants them."""
    return await exchange.image_store.publish(answer, exchange.headers.get("host")) if _by_url(exchange) else answer


def _by_url(exchange: Exchange) -> bool:
    return exchange.adjusted.gateway.get("response_format") == "url"


# OpenAI's own values; others stand under `portico`.
_FACTS = {
    "size": STRING,
    "quality": STRING,
    "background": STRING,
    "output_format": one_of(OUTPUT_FORMATS),
    "portico": record({}, {"size": STRING, "quality": STRING}),
}
_USAGE = record(
    {"input_tokens": INTEGER, "output_tokens": INTEGER, "total_tokens": INTEGER},
    {"input_tokens_details": record({"text_tokens": INTEGER, "image_tokens": INTEGER})},
)
WHOLE = Component(
    "ImagesResponse",
    record(
        {"created": INTEGER, "data": array(record({}, {"b64_json": STRING, "url": STRING}))},
        _FACTS | {"usage": _USAGE},
    ),
)


def event(name: str, kind: str) -> Component:
    """The schema `name` of the events of a stream, whose types begin with `kind`."""
    types = (f"{kind}.partial_image", f"{kind}.completed")
    return Component(
        name,
        record(
            {"type": one_of(types), "b64_json": STRING, "created_at": INTEGER},
            _FACTS | {"partial_image_index": INTEGER, "usage": _USAGE},
        ),
    )


IMAGES = Endpoint(
    path=IMAGES_ROUTE,
    summary="Create image",
    answer="The generated images. With `stream`: partial images and the image as server-sent events.",
    content={"application/json": WHOLE, EVENT_STREAM: event("ImageGenerationEvent", "image_generation")},
    table=TABLE,
    example={"prompt": "A small boat."},
    counted=CountedFields(("prompt",)),
    engine_body=engine_body,
    before=check_host,
    after=publish,
    answer_tokens=partial(answer_tokens, TABLE),
    wanted_images=wanted_images,
)
