"""vLLM's errors, turned into the contract's. Written for vLLM 0.32: its types are its own, its codes are numbers."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from contract.errors import ApiError, upstream_error

# `parameter` of a VLLMValidationError that means: the prompt does not fit the context.
CONTEXT_PARAMETERS = frozenset({"input_text", "input_tokens", "prompt"})
# How vLLM words that a prompt which fits leaves no room for a token: the gateway takes no limit below 1.
NO_ROOM = re.compile(r"max_tokens must be at least 1, got 0|longer than the maximum model length")
# How it words what it reports without a parameter.
REGEX_ERROR = re.compile(r"transform regex into|structured_outputs\.regex|regex .*timed out", re.IGNORECASE)
SCHEMA_ERROR = re.compile(r"grammar|json schema|structural.?tag|regex", re.IGNORECASE)
CAPABILITY_ERRORS = {
    "tool choice requires": "This model cannot call tools. Leave out `tools` and `tool_choice`.",
    "not a multimodal model": "This model reads text only. Leave out images and audio.",
    "does not support": "This model does not do this. GET /v1/models/{id} shows what each one does.",
    "hat template": "This model has no chat template, so it cannot chat.",
}
IMAGE_ERROR = "Failed to load image"
# VLLMValidationError appends what begins so to its message, up to its end; it can repeat what the client sent.
APPENDED_VALUES = (" (parameter=", " (value=")
MAX_MESSAGE_LENGTH = 300
# What must not reach a client: tracebacks, addresses in memory or on the network, paths, names of classes.
UNFIT = re.compile(
    r"""Traceback|File\ "|0x[0-9a-f]{4,}|<class|<.*\ object|(?:^|[\s'"(=:\]])/(?:[\w.-]+/)+[\w.-]+|\d+(?:\.\d+){3}"""
    r"""|\b[A-Z]\w*(?:Error|Exception|Params?|Request|Config)\b""",
    re.VERBOSE,
)

# pydantic's kinds of errors -> the contract's codes; every other kind is an invalid value.
MISSING_KINDS = frozenset({"missing"})
TYPE_KINDS = re.compile(r"_type$|_parsing$|_from_float$")


def validation_error(kind: str, message: str, place: str) -> dict[str, Any]:
    """One of pydantic's errors about a body, as an engine's error that `ErrorMap` reads.

    `kind` and `message` are pydantic's; `place` is a dotted path. The names of the engine's classes are left out of it.
    """
    parts = [part for part in place.split(".") if part != "body" and not part[:1].isupper()]
    return {"error": {"kind": kind, "message": message, "param": ".".join(parts) or None}}


# Turns an exception into the status and the body that vLLM would have answered, had it not begun its answer.
Reported = Callable[[Exception], tuple[int, bytes]]


def unreported(_: Exception) -> tuple[int, bytes]:
    """For an engine that is not vLLM's own: every exception is a failure."""
    return 500, b""


@dataclass(frozen=True)
class ErrorMap:
    """The contract's errors for vLLM's on one route, which has its own names for the prompt and the answer's format."""

    prompt: str
    format: str
    reported: Reported

    def of_answer(self, status: int, body: bytes) -> ApiError:
        """The contract's error for vLLM's `body` under `status`; an upstream error where that says nothing known."""
        try:
            return self._error(status, orjson.loads(body)["error"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return upstream_error()

    def of_exception(self, error: Exception) -> ApiError:
        """The contract's error for an exception: vLLM lets one through where its stream has begun, with its cause."""
        return self.of_answer(*self.reported(error.__cause__ if isinstance(error.__cause__, Exception) else error))

    def _error(self, status: int, error: dict[str, Any]) -> ApiError:
        message, param = _without_appended_values(error["message"]), error.get("param")
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
        if status == 422 or message.startswith(IMAGE_ERROR):
            return ApiError("invalid_image", f"An image in `{self.prompt}` could not be read.", param=self.prompt)
        if NO_ROOM.search(message):
            message = f"`{self.prompt}` leaves no room for an answer in the model's context. Shorten it."
            return ApiError("context_length_exceeded", message, param=self.prompt)
        if param in CONTEXT_PARAMETERS:
            return ApiError("context_length_exceeded", presentable(message), param=self.prompt)
        for words, advice in CAPABILITY_ERRORS.items():
            if words in message:
                return ApiError("unsupported_capability", advice, param=param)
        if param is None and REGEX_ERROR.search(message):
            message = "The regular expression of a tool's input cannot guide this model's answer; simplify it."
            return ApiError("invalid_value", message, param="tools")
        if param is None and SCHEMA_ERROR.search(message):
            message = f"The JSON schema cannot guide this model's answer. {presentable(message)}"
            return ApiError("invalid_json_schema", message, param=self.format)
        return ApiError("invalid_value", presentable(message), param=param)


def presentable(message: str) -> str:
    """The engine's words where they are fit for a client, else a sentence that says what to do."""
    shown = message[:MAX_MESSAGE_LENGTH]  # cut before it is searched: a client may have written a megabyte of it
    return "The model's engine does not take this request as it is; simplify it." if UNFIT.search(shown) else shown


def _without_appended_values(message: str) -> str:
    starts = [start for mark in APPENDED_VALUES if (start := message.find(mark)) >= 0]
    return message[: min(starts)] if starts and message.endswith(")") else message


def _invalid_request(kind: str, message: str, param: str | None) -> ApiError:
    if kind in MISSING_KINDS:
        return ApiError("missing_required_parameter", f"`{param}` is missing.", param=param)
    code = "invalid_type" if TYPE_KINDS.search(kind) else "invalid_value"
    return ApiError(code, f"`{param}`: {message}." if param else f"{message}.", param=param)
