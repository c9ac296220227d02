"""POST /v1/images/edits and /v1/images/variations: images made of images."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from app.budgets.estimate import CountedFields
from app.endpoints.endpoint import Endpoint
from app.endpoints.images import (
    COUNT,
    DIFFUSERS,
    FILE_FORMAT,
    MAX_PROMPT,
    MODERATION,
    NEGATIVE_PROMPT,
    QUALITY,
    RESPONSE_FORMAT,
    RULES,
    SEED,
    SIZE_NOTE,
    STREAMED,
    WHOLE,
    Size,
    answer_tokens,
    check_host,
    engine_body,
    event,
    publish,
    wanted_images,
)
from app.parameters.adjust import lacking
from app.parameters.image_references import ImageReferences, image_slots, reference_bytes
from app.parameters.kinds import Number, Text
from app.parameters.row import MODEL, USER, Parameter, Table, ignored, refused
from contract.errors import ApiError
from contract.image_tokens import image_tokens
from contract.profile import Profile
from contract.protocol import EDITS_ROUTE, EVENT_STREAM, VARIATIONS_ROUTE

MAX_IMAGES = 16  # as at OpenAI; how many a model takes is the model's
PIXEL = (  # the smallest PNG, of one white pixel
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
)


def _takes_its_images(legal: dict[str, Any], profile: Profile) -> Iterator[tuple[str, float, float]]:
    """Not more images than the model takes together."""
    most = profile.limit("input_images") or 1
    if len(legal["image"]) > most:
        message = f"The request has {len(legal['image'])} images; this model takes at most {most}. Send fewer."
        raise ApiError("unsupported_capability", message, param=f"image.{most}")
    if "mask" in legal and "masks" not in profile.capabilities:
        raise lacking("masks", "mask")
    return iter(())


SIZE = Parameter("size", Size(), f"{SIZE_NOTE} Default: in the form of the image.", absent=("auto",))
STRENGTH = Parameter(
    "strength",
    Number(0.05, 1.0),
    "How much of the image is made anew: 1 keeps nothing of it.",
    engines=DIFFUSERS,
    feature="strength",
)
EDITS_TABLE = Table(
    rows=(
        Parameter(
            "image",
            ImageReferences(MAX_IMAGES),
            "Image to change, or several to make one of, where the model takes them. In JSON also named `images`.",
            required=True,
            capability="edits",
            also=("images",),
        ),
        Parameter("prompt", Text(1, MAX_PROMPT), "Description of the image that is wanted.", required=True),
        Parameter(
            "mask",
            ImageReferences(1, single=True),
            "Image of the same size, whose transparent pixels are made anew; all others stay as they are.",
        ),
        MODEL,
        COUNT,
        SIZE,
        QUALITY,
        RESPONSE_FORMAT,
        *FILE_FORMAT,
        *STREAMED,
        USER,
        STRENGTH,
        SEED,
        NEGATIVE_PROMPT,
        MODERATION,
        ignored("input_fidelity", "`strength` says how much of the image stays."),
        refused("markup", "say in the prompt what to change, and with `mask` where."),
    ),
    rules=(*RULES, _takes_its_images),
)
VARIATIONS_TABLE = Table(
    rows=(
        Parameter("image", ImageReferences(1), "Image to make variations of.", required=True, capability="variations"),
        MODEL,
        COUNT,
        SIZE,
        RESPONSE_FORMAT,
        USER,
        STRENGTH,
        SEED,
        refused("prompt", "a variation has none; /v1/images/edits takes one."),
    ),
)


def _input_tokens(table: Table, request: dict[str, Any], profile: Profile) -> int:
    """Those of the images that are made, and of those that they are made of.

    A single one is cut to their size; one of several has about as many pixels as the model's own images.
    """
    made = answer_tokens(table, request, profile)
    if (profile.limit("input_images") or 1) == 1 or not made:
        return made + answer_tokens(table, request | {"n": 1}, profile)
    given = request.get("image", request.get("images"))
    width, height = (profile.limit(name) or 0 for name in ("default_width", "default_height"))
    return made + image_tokens(width, height, len(given) if isinstance(given, list) else 1)


EDITS = Endpoint(
    path=EDITS_ROUTE,
    summary="Create image edit",
    answer="The changed images. With `stream`: partial images and the image as server-sent events.",
    content={"application/json": WHOLE, EVENT_STREAM: event("ImageEditEvent", "image_edit")},
    table=EDITS_TABLE,
    example={"image": {"image_url": PIXEL}, "prompt": "A small boat."},
    counted=CountedFields(("prompt",)),
    image_files={"image": MAX_IMAGES, "mask": 1},
    media_bytes=reference_bytes,
    engine_body=engine_body,
    images=image_slots,
    before=check_host,
    after=publish,
    answer_tokens=partial(_input_tokens, EDITS_TABLE),
    wanted_images=wanted_images,
)
VARIATIONS = Endpoint(
    path=VARIATIONS_ROUTE,
    summary="Create image variation",
    answer="The variations of the image.",
    content={"application/json": WHOLE},
    table=VARIATIONS_TABLE,
    example={"image": {"image_url": PIXEL}},
    counted=CountedFields(()),
    image_files={"image": 1},
    media_bytes=reference_bytes,
    engine_body=engine_body,
    images=image_slots,
    before=check_host,
    after=publish,
    answer_tokens=partial(_input_tokens, VARIATIONS_TABLE),
    wanted_images=wanted_images,
)
