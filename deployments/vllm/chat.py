"""vLLM's answers to chat completions, turned into the contract's. Written for vLLM 0.32.

They carry null fields that OpenAI lacks.
"""

from typing import Any

import orjson

from contract import sse
from contract.errors import ApiError
from contract.protocol import RequestHead
from deployments.vllm.dialect import data_of
from deployments.vllm.errors import ErrorMap, Reported, unreported

# vLLM's own fields: they stay where they hold something and are removed where they are null.
ENGINE_FIELDS = frozenset(
    {"stop_reason", "token_ids", "routed_experts", "prompt_logprobs", "prompt_token_ids", "prompt_text", "reasoning",
     "kv_transfer_params", "ec_transfer_params", "metrics", "multimodal_tokens"}
)  # fmt: skip


class ChatDialect:
    """POST /v1/chat/completions as vLLM answers it."""

    def __init__(self, reported: Reported = unreported) -> None:
        self.errors = ErrorMap(prompt="messages", format="response_format", reported=reported)

    def body(self, body: bytes, request: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        answer = orjson.loads(body)
        remove_null_fields(answer)
        for choice in answer["choices"]:
            message = choice["message"]
            if message.get("tool_calls") and not message["content"]:
                message["content"] = None  # vLLM says an empty text
        if "metadata" in request.echo:
            answer["metadata"] = request.echo["metadata"]
        return orjson.dumps(answer), answer.get("usage")

    def stream(self, request: RequestHead) -> "ChatStream":
        return ChatStream(self.errors, request)


class ChatStream:
    """The events of one streamed chat completion: null fields removed, the usage kept, and shown only if asked for."""

    def __init__(self, errors: ErrorMap, request: RequestHead) -> None:
        self.usage: dict[str, Any] | None = None
        self.error: ApiError | None = None
        self.done = False
        self._errors = errors
        self._show_usage = request.include_usage
        self._metadata = request.echo.get("metadata")
        self._events = sse.Splitter()

    def feed(self, piece: bytes) -> bytes:
        events = map(data_of, self._events.feed(piece))
        return b"".join(out for data in events if not self.error and (out := self._turn(data)))

    def _turn(self, data: bytes) -> bytes:
        if data == b"[DONE]":
            self.done = True
            return sse.DONE
        chunk = orjson.loads(data)
        if "error" in chunk:
            self.error = self._errors.of_answer(chunk["error"].get("code") or 500, data)
            return b""
        remove_null_fields(chunk)
        if not chunk["choices"] and "usage" in chunk:
            self.usage = chunk["usage"]
            if not self._show_usage:
                return b""
        if self._metadata is not None:  # in the first chunk only
            chunk["metadata"], self._metadata = self._metadata, None
        return sse.event(chunk)


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
        if "created_cache_tokens" in details:  # vLLM's name for it
            details["cache_write_tokens"] = details.pop("created_cache_tokens")


def _remove(fields: dict[str, Any]) -> None:
    for name in ENGINE_FIELDS.intersection(fields):
        if fields[name] is None:
            del fields[name]
