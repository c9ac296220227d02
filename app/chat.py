"""POST /v1/chat/completions: the request's shape as the gateway checks it. Its content is the engine's to check."""

from typing import Any

import orjson

from app.errors import ApiError

# What the gateway itself reads must have these types; everything else has the engine's rules.
TYPES: dict[str, tuple[type, str]] = {
    "model": (str, "a string"),
    "messages": (list, "an array"),
    "stream": (bool, "true or false"),
    "stream_options": (dict, "an object"),
}
ROLES = frozenset({"developer", "system", "user", "assistant", "tool", "function"})

# Arguments of the engine that a client must not reach: they change scheduling, caches, templates or trust.
ENGINE_PRIVATE = frozenset(
    {"priority", "cache_salt", "kv_transfer_params", "ec_transfer_params", "vllm_xargs", "request_id", "prompt_embeds",
     "chat_template", "chat_template_kwargs", "mm_processor_kwargs", "media_io_kwargs", "add_generation_prompt",
     "continue_final_message", "documents", "echo", "return_token_ids", "return_tokens_as_token_ids",
     "return_prompt_text", "structural_tag"}
)  # fmt: skip


def check_shape(request: dict[str, Any]) -> None:
    """Raises ApiError for the first thing that is not a chat request."""
    for name, (kind, told) in TYPES.items():
        if name in request and not isinstance(request[name], kind):
            raise ApiError("invalid_type", f"`{name}` must be {told}.", param=name)
    if "messages" not in request:
        raise ApiError("missing_required_parameter", "`messages` is missing.", param="messages")
    if not request["messages"]:
        raise ApiError("invalid_value", "`messages` is empty. Send at least one message.", param="messages")
    for index, message in enumerate(request["messages"]):
        _check_message(message, f"messages.{index}")
    if "stream_options" in request and not request.get("stream"):
        raise ApiError("invalid_value", "`stream_options` is for `stream: true` only.", param="stream_options")


def wants_usage_event(request: dict[str, Any]) -> bool:
    return bool(request.get("stream_options", {}).get("include_usage"))


def engine_body(request: dict[str, Any], model_id: str) -> bytes:
    """The body that the engine gets. A stream always reports its usage there; the client sees it if it asked."""
    body = {name: value for name, value in request.items() if name not in ENGINE_PRIVATE}
    body["model"] = model_id
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    return orjson.dumps(body)


def _check_message(message: Any, place: str) -> None:
    if not isinstance(message, dict):
        raise ApiError("invalid_type", f"`{place}` must be an object.", param=place)
    if "role" not in message:
        raise ApiError("missing_required_parameter", f"`{place}.role` is missing.", param=f"{place}.role")
    if not isinstance(message["role"], str) or message["role"] not in ROLES:
        told = ", ".join(sorted(ROLES))
        raise ApiError("invalid_value", f"`{place}.role` must be one of {told}.", param=f"{place}.role")
    if not isinstance(message.get("content"), str | list | None):
        raise ApiError(
            "invalid_type", f"`{place}.content` must be a string or an array of parts.", param=f"{place}.content"
        )
