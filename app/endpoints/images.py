"""POST /v1/images/generations: what the engine gets of a legal request, what it costs, how a broken stream is told."""

from typing import Any

import orjson

from app.endpoints.images_parameters import IMAGES, OLDER_QUALITIES
from app.parameters.adjust import adjust
from contract.errors import ApiError
from contract.image_tokens import image_tokens
from contract.profile import Profile

DEFAULT_SIDES = ("default_width", "default_height")  # limits of the model's profile
BY_GATEWAY = frozenset({"model", "response_format"})


def engine_body(kept: dict[str, Any], _model_id: str) -> bytes:
    """The engine's body. Where the images go is the gateway's to know."""
    body = {name: value for name, value in kept.items() if name not in BY_GATEWAY}
    if "quality" in body:
        body["quality"] = OLDER_QUALITIES.get(body["quality"], body["quality"])
    return orjson.dumps(body)


def answer_tokens(request: dict[str, Any], profile: Profile) -> int:
    """What the images of any JSON request will count as; nothing where it is going to be refused."""
    try:
        kept = adjust(IMAGES, request, profile).kept
    except ApiError:
        return 0
    sides = kept["size"].split("x") if "size" in kept else (profile.limit(name) or 0 for name in DEFAULT_SIDES)
    width, height = map(int, sides)
    return image_tokens(width, height, kept.get("n", 1))


def failure_event(error: ApiError, _first: bytes, _events: int) -> bytes:
    """An event with the error's envelope."""
    return b"event: error\ndata: " + error.body() + b"\n\n"
