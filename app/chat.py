"""POST /v1/chat/completions: what the engine gets of a request that the parameter table has made legal."""

from typing import Any

import orjson


def wants_usage_event(kept: dict[str, Any]) -> bool:
    return bool(kept.get("stream_options", {}).get("include_usage"))


def engine_body(kept: dict[str, Any], model_id: str) -> bytes:
    """The engine's body. A stream always reports its usage there; the client sees it if it asked."""
    body = kept | {"model": model_id}
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    if "verbosity" in body:  # the engine has no such parameter; the template reads it as a variable
        body["chat_template_kwargs"] = body.get("chat_template_kwargs", {}) | {"verbosity": body.pop("verbosity")}
    return orjson.dumps(body)
