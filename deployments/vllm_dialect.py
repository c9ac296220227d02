"""vLLM's answers to chat completions, turned into the contract's. Written for vLLM 0.32.

vLLM's error types are its own, its error codes are numbers, and its answers carry null fields that OpenAI lacks.
"""

import re
from typing import Any

import orjson

from app.errors import ApiError, upstream_error
from deployments.protocol import RequestHead

# vLLM's own fields: they stay where they hold something and are removed where they are null.
ENGINE_FIELDS = frozenset(
    {"stop_reason", "token_ids", "routed_experts", "prompt_logprobs", "prompt_token_ids", "prompt_text", "reasoning",
     "kv_transfer_params", "ec_transfer_params", "metrics", "multimodal_tokens"}
)  # fmt: skip
# `parameter` of a VLLMValidationError that means: the prompt does not fit the context.
CONTEXT_PARAMETERS = frozenset({"input_text", "input_tokens", "prompt"})
# How vLLM words what it reports without a parameter.
SCHEMA_ERROR = re.compile(r"grammar|json schema|structural.?tag|regex", re.IGNORECASE)
CAPABILITY_ERRORS = {
    "tool choice requires": ("tools", "This model cannot call tools. Leave out `tools` and `tool_choice`."),
    "not a multimodal model": ("messages", "This model reads text only. Send messages without images or audio."),
    "does not support Chat Completions": (
        "model",
        "This model does not chat. GET /v1/models lists what each one does.",
    ),
    "hat template": ("messages", "This model has no chat template, so it cannot chat."),
}
# VLLMValidationError appends these to its message; they can repeat what the client sent.
APPENDED_VALUES = re.compile(r" \((?:parameter|value)=.*\)$", re.DOTALL)
MAX_MESSAGE_LENGTH = 300
# What must not be told: tracebacks, addresses in memory or on the network, paths, names of classes.
UNFIT = re.compile(
    r"""Traceback|File\ "|0x[0-9a-f]{4,}|<class|<.*\ object|(?:^|[\s'"(=:\]])/(?:[\w.-]+/)+[\w.-]+|\d+(?:\.\d+){3}"""
    r"""|\b[A-Z]\w*(?:Error|Exception|Params?|Request|Config)\b""",
    re.VERBOSE,
)

# pydantic's kinds of errors -> the contract's codes; every other kind is an invalid value.
MISSING_KINDS = frozenset({"missing"})
TYPE_KINDS = re.compile(r"_type$|_parsing$|_from_float$")


def validation_error(kind: str, message: str, place: str) -> dict[str, Any]:
    """One of pydantic's errors about a body, as an engine's error that `ChatDialect.error` reads.

    `kind` and `message` are pydantic's; `place` is a dotted path. The names of the engine's classes are left out of it.
    """
    parts = [part for part in place.split(".") if part != "body" and not part[:1].isupper()]
    return {"error": {"kind": kind, "message": message, "param": ".".join(parts) or None}}


class ChatDialect:
    """POST /v1/chat/completions as vLLM answers it."""

    def error(self, status: int, body: bytes) -> ApiError:
        """The contract's error for vLLM's `body` under `status`; an upstream error where that says nothing known."""
        try:
            return self._error(status, orjson.loads(body)["error"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return upstream_error()

    def body(self, body: bytes, request: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        answer = orjson.loads(body)
        remove_null_fields(answer)
        if request.metadata is not None:
            answer["metadata"] = request.metadata
        return orjson.dumps(answer), answer.get("usage")

    def stream(self, request: RequestHead) -> "ChatStream":
        return ChatStream(self, request)

    def _error(self, status: int, error: dict[str, Any]) -> ApiError:
        message, param = APPENDED_VALUES.sub("", error["message"]), error.get("param")
        if "kind" in error:
            return _invalid_request(error["kind"], message, param)
        if status == 503:
            return ApiError("overloaded", "Every place for a request on this model is taken. Retry after a pause.")
        if status == 501:
            return ApiError("unsupported_capability", "This model does not offer what the request asks for.")
        if status >= 500:
            return upstream_error()
        if status == 404:
            return ApiError("model_not_found", "This model is not served here. GET /v1/models lists what is.")
        if status == 422:
            return ApiError("invalid_image", "An image in `messages` could not be read.", param="messages")
        if param in CONTEXT_PARAMETERS:
            return ApiError("context_length_exceeded", presentable(message), param="messages")
        for words, (where, told) in CAPABILITY_ERRORS.items():
            if words in message:
                return ApiError("unsupported_capability", told, param=where)
        if param is None and SCHEMA_ERROR.search(message):
            told = f"The JSON schema cannot guide this model's answer. {presentable(message)}"
            return ApiError("invalid_json_schema", told, param="response_format")
        return ApiError("invalid_value", presentable(message), param=param)


def presentable(message: str) -> str:
    """The engine's words where they are fit for a client, else a sentence that says what to do."""
    if UNFIT.search(message):
        return "The model's engine does not take this request as it is; simplify it."
    return message[:MAX_MESSAGE_LENGTH]


def _invalid_request(kind: str, message: str, param: str | None) -> ApiError:
    if kind in MISSING_KINDS:
        return ApiError("missing_required_parameter", f"`{param}` is missing.", param=param)
    code = "invalid_type" if TYPE_KINDS.search(kind) else "invalid_value"
    return ApiError(code, f"`{param}`: {message}." if param else f"{message}.", param=param)


class ChatStream:
    """The events of one streamed chat completion: null fields removed, the usage kept, and shown only if asked for."""

    def __init__(self, dialect: ChatDialect, request: RequestHead) -> None:
        self.usage: dict[str, Any] | None = None
        self.error: ApiError | None = None
        self.done = False
        self._dialect = dialect
        self._show_usage = request.include_usage
        self._metadata = request.metadata
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        *events, self._rest = (self._rest + piece).split(b"\n\n")
        return b"".join(out for event in events if not self.error and (out := self._turn(event)))

    def _turn(self, event: bytes) -> bytes:
        data = event.removeprefix(b"data: ")
        if data == b"[DONE]":
            self.done = True
            return b"data: [DONE]\n\n"
        chunk = orjson.loads(data)
        if "error" in chunk:
            self.error = self._dialect.error(chunk["error"].get("code") or 500, data)
            return b""
        remove_null_fields(chunk)
        if not chunk["choices"] and "usage" in chunk:
            self.usage = chunk["usage"]
            if not self._show_usage:
                return b""
        if self._metadata is not None:  # in the first chunk only
            chunk["metadata"], self._metadata = self._metadata, None
        return b"data: " + orjson.dumps(chunk) + b"\n\n"


def remove_null_fields(answer: dict[str, Any]) -> None:
    """Remove vLLM's own fields where they are null, in place, at every level where vLLM writes them."""
    _remove(answer)
    for choice in answer["choices"]:
        _remove(choice)
        for part in ("message", "delta"):
            if part in choice:
                _remove(choice[part])
    details = (answer.get("usage") or {}).get("prompt_tokens_details")
    if details:
        _remove(details)


def _remove(fields: dict[str, Any]) -> None:
    for name in ENGINE_FIELDS.intersection(fields):
        if fields[name] is None:
            del fields[name]
