"""POST /v1/chat/completions: what the engine gets of a legal request, and how a broken stream is told."""

from typing import Any

import orjson

from contract.errors import ApiError


def engine_body(kept: dict[str, Any], model_id: str) -> bytes:
    """The engine's body. A stream always reports its usage there; the client sees it if it asked."""
    body = kept | {"model": model_id}
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    if "verbosity" in body:  # the engine has no such parameter; the template reads it as a variable
        body["chat_template_kwargs"] = body.get("chat_template_kwargs", {}) | {"verbosity": body.pop("verbosity")}
    return orjson.dumps(body)


def failure_event(error: ApiError, _first: bytes, _events: int) -> bytes:
    """An event with the error's envelope."""
    return b"data: " + error.body() + b"\n\n"
