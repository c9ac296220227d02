"""POST /v1/audio/speech: what the engine gets of a legal request, what is counted, and how a broken stream is told."""

from typing import Any

import orjson

from contract.errors import ApiError


def engine_body(kept: dict[str, Any], _model_id: str) -> bytes:
    return orjson.dumps({name: value for name, value in kept.items() if name != "model"})


def characters(kept: dict[str, Any]) -> int:
    """What X-Usage-Characters says."""
    return len(kept["input"])


def failure_event(error: ApiError, _first: bytes, _events: int) -> bytes:
    """An event with the error's envelope."""
    return b"event: error\ndata: " + error.body() + b"\n\n"
