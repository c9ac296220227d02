"""vLLM's answers to chat completions, turned into the contract's. Written for vLLM 0.32.

They carry null fields that OpenAI lacks, and lack some that it has.
"""

from typing import Any

import orjson

from contract import sse
from contract.errors import ApiError
from contract.protocol import RequestHead
from deployments.vllm.dialect import data_of
from deployments.vllm.errors import ErrorMap, Reported, unreported

# The fields that are null at OpenAI too. Every other null is a field that OpenAI leaves out, or that it does not know.
NULLABLE = frozenset({"content", "refusal", "logprobs", "finish_reason"})


class ChatDialect:
    """POST /v1/chat/completions as vLLM answers it."""

    def __init__(self, reported: Reported = unreported) -> None:
        self.errors = ErrorMap(prompt="messages", format="response_format", reported=reported)

    def question(self, body: bytes, _: RequestHead) -> bytes:
        return body

    def body(self, body: bytes, request: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        answer = orjson.loads(body)
        mend(answer, "message")
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
    """The events of one streamed chat completion. The usage is kept, and shown only if the client wants it."""

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
        mend(chunk, "delta")
        if not chunk["choices"] and "usage" in chunk:
            self.usage = chunk["usage"]
            if not self._show_usage:
                return b""
        if self._metadata is not None:  # in the first chunk only
            chunk["metadata"], self._metadata = self._metadata, None
        return sse.event(chunk)


def mend(answer: dict[str, Any], part: str) -> None:
    """Give vLLM's answer or chunk the fields of OpenAI's, in place. `part` of a choice is its message or its delta."""
    _remove_nulls(answer)
    for choice in answer["choices"]:
        _remove_nulls(choice)
        _remove_nulls(choice[part])
        for call in choice[part].get("tool_calls", ()):
            _remove_nulls(call)
            _remove_nulls(call["function"])
            call["function"].setdefault("arguments", "")  # clients add to it
        if choice.get("logprobs"):
            choice["logprobs"].setdefault("refusal", None)
    if "usage" in answer:
        _remove_nulls(answer["usage"])
        details = answer["usage"].get("prompt_tokens_details", {})
        _remove_nulls(details)
        if "created_cache_tokens" in details:  # vLLM's name for it
            details["cache_write_tokens"] = details.pop("created_cache_tokens")


def _remove_nulls(fields: dict[str, Any]) -> None:
    for name in [name for name, value in fields.items() if value is None and name not in NULLABLE]:
        del fields[name]
