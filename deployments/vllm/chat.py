"""vLLM's answers to chat completions, turned into the contract's. Written for vLLM 0.32.

They carry null fields that OpenAI lacks, and lack some that it has.
"""

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from contract import sse
from contract.errors import ApiError
from contract.protocol import RequestHead
from deployments.vllm.custom_calls import CallDeltas, mend_choice
from deployments.vllm.dialect import data_of
from deployments.vllm.errors import ErrorMap, Reported, unreported

# The fields that are null at OpenAI too. Every other null is a field that OpenAI leaves out, or that it does not know.
NULLABLE = frozenset({"content", "refusal", "logprobs", "finish_reason"})


Turn = Callable[[dict[str, Any]], list[dict[str, Any]]]  # vLLM's chunk, as the chunks that the client gets


class ChatDialect:
    """POST /v1/chat/completions as vLLM answers it."""

    def __init__(self, reported: Reported = unreported) -> None:
        self.errors = ErrorMap(prompt="messages", format="response_format", reported=reported)

    def question(self, body: bytes, _: RequestHead) -> bytes:
        return body

    def body(self, body: bytes, request: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        answer = orjson.loads(body)
        mend_answer(answer)
        if request.custom_calls:
            for choice in answer["choices"]:
                mend_choice(choice, request.custom_calls, request.request_id)
        if "metadata" in request.echo:
            answer["metadata"] = request.echo["metadata"]
        return orjson.dumps(answer), answer.get("usage")

    def stream(self, request: RequestHead) -> "ChatStream":
        if not request.custom_calls:
            return ChatStream(self.errors, request, turned_chunk)
        deltas = CallDeltas(request.custom_calls, request.request_id)

        def turned(chunk: dict[str, Any]) -> list[dict[str, Any]]:
            _mend_chunk(chunk)
            for choice in chunk["choices"]:
                deltas.mend(choice)
            return _one_call_each(chunk)

        return ChatStream(self.errors, request, turned)


class ChatStream:
    """The chunks of one streamed completion. The usage is kept, and shown only if the client wants it."""

    def __init__(self, errors: ErrorMap, request: RequestHead, turned: Turn) -> None:
        self.usage: dict[str, Any] | None = None
        self.error: ApiError | None = None
        self.done = False
        self._errors = errors
        self._turned = turned
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
        chunks = self._turned(chunk)
        if not chunk["choices"] and "usage" in chunk:
            self.usage = chunk["usage"]
            if not self._show_usage:
                return b""
        if self._metadata is not None:  # in the first chunk only
            chunks[0]["metadata"], self._metadata = self._metadata, None
        return b"".join(map(sse.event, chunks))


def mend_answer(answer: dict[str, Any]) -> None:
    """Give vLLM's chat completion the fields of OpenAI's, in place."""
    mend_common(answer)
    for choice in answer["choices"]:
        message = choice["message"]
        _mend_part(message)
        if message.get("tool_calls") and not message["content"]:
            message["content"] = None  # vLLM says an empty text
        _mend_logprobs(choice)


def turned_chunk(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """vLLM's chunk of a chat completion as OpenAI's."""
    _mend_chunk(chunk)
    return _one_call_each(chunk)


def _mend_chunk(chunk: dict[str, Any]) -> None:
    mend_common(chunk)
    for choice in chunk["choices"]:
        _mend_part(choice["delta"])
        _mend_logprobs(choice)


def mend_common(answer: dict[str, Any]) -> None:
    """Remove the nulls that OpenAI lacks from an answer or a chunk, from its choices and from its usage, in place."""
    _remove_nulls(answer)
    for choice in answer["choices"]:
        _remove_nulls(choice)
    if "usage" in answer:
        _remove_nulls(answer["usage"])
        details = answer["usage"].get("prompt_tokens_details", {})
        _remove_nulls(details)
        if "created_cache_tokens" in details:  # vLLM's name for it
            details["cache_write_tokens"] = details.pop("created_cache_tokens")


def _one_call_each(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunk, in as many as it has calls. vLLM joins what it made while nobody read; clients know from OpenAI that
    a chunk adds to one call, and some read the first entry only.
    """
    if not any(choice["delta"].get("tool_calls") for choice in chunk["choices"]):
        return [chunk]
    (choice,) = chunk["choices"]  # vLLM has one in a chunk
    first, *others = _joined(choice["delta"]["tool_calls"])
    choices = [choice | {"delta": choice["delta"] | {"tool_calls": [first]}}]
    choices += [choice | {"delta": {"tool_calls": [call]}, "logprobs": None} for call in others]
    for earlier in choices[:-1]:
        earlier["finish_reason"] = None
    return [chunk | {"choices": [part]} for part in choices]


def _joined(calls: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry of each call, with all that the entries add to it."""
    joined: dict[int, dict[str, Any]] = {}
    for call in calls:
        if (whole := joined.setdefault(call["index"], call)) is call:
            continue
        kind, field = ("custom", "input") if "custom" in call else ("function", "arguments")
        whole[kind][field] += call[kind][field]
    return list(joined.values())


def _mend_part(part: dict[str, Any]) -> None:
    """A message or a delta."""
    _remove_nulls(part)
    for call in part.get("tool_calls", ()):
        _remove_nulls(call)
        _remove_nulls(call["function"])
        call["function"].setdefault("arguments", "")  # clients add to it


def _mend_logprobs(choice: dict[str, Any]) -> None:
    if choice.get("logprobs"):
        choice["logprobs"].setdefault("refusal", None)


def _remove_nulls(fields: dict[str, Any]) -> None:
    for name in [name for name, value in fields.items() if value is None and name not in NULLABLE]:
        del fields[name]
