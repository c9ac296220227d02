"""POST /v1/responses: what the engine gets of a legal request, and how a broken stream is told."""

from typing import Any

import orjson

from contract.errors import ApiError


def engine_body(kept: dict[str, Any], model_id: str) -> bytes:
    """The engine's body. It is told to store nothing."""
    body = {name: value for name, value in kept.items() if name != "stream_options"}
    if verbosity := body.get("text", {}).get("verbosity"):  # the template reads it as a variable
        body["chat_template_kwargs"] = body.get("chat_template_kwargs", {}) | {"verbosity": verbosity}
    return orjson.dumps(body | {"model": model_id, "store": False})


def failure_event(error: ApiError, first: bytes, events: int) -> bytes:
    """`response.failed` after `events` events, of which `first` holds the opening one: it has the Response."""
    opening = orjson.loads(first.partition(b"data: ")[2].partition(b"\n\n")[0])
    response = opening["response"] | {
        "status": "failed",
        "error": {"code": "server_error", "message": error.message},
    }
    event = {"type": "response.failed", "sequence_number": events, "response": response}
    return b"event: response.failed\ndata: " + orjson.dumps(event) + b"\n\n"
