"""POST /v1/images/generations: what the engine gets of a legal request, and how a broken stream is told."""

from typing import Any

import orjson

from app.errors import ApiError

BY_GATEWAY = frozenset({"model", "response_format"})
QUALITY = {"standard": "medium", "hd": "high"}  # older names


def engine_body(kept: dict[str, Any], _model_id: str) -> bytes:
    """The engine's body. Where the images go is the gateway's to know."""
    body = {name: value for name, value in kept.items() if name not in BY_GATEWAY}
    if "quality" in body:
        body["quality"] = QUALITY.get(body["quality"], body["quality"])
    return orjson.dumps(body)


def failure_event(error: ApiError, _first: bytes, _events: int) -> bytes:
    """An event with the error's envelope."""
    return b"event: error\ndata: " + error.body() + b"\n\n"
