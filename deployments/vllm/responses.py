"""vLLM's answers to /v1/responses, turned into the contract's. Written for vLLM 0.32.

It reports errors by breaking off a stream that it has begun, says `completed` of an answer that was cut, leaves out
fields that OpenAI requires, and adds fields of its own.
"""

import time
from typing import Any

import orjson

from contract import sse
from contract.errors import ApiError
from contract.protocol import RequestHead
from deployments.vllm.dialect import data_of
from deployments.vllm.errors import ErrorMap, Reported, unreported

NO_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}
# Fields of a Response that the specification wants and vLLM lacks or leaves null.
DEFAULTS: dict[str, Any] = {
    "completed_at": None,
    "error": None,
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": None, "summary": None},
    "top_logprobs": 0,
    "usage": NO_USAGE,
    "safety_identifier": None,
    "prompt_cache_key": None,
}
# What is always so here: nothing is stored, nothing runs in the background, there is one tier.
FIXED: dict[str, Any] = {"store": False, "background": False, "service_tier": "default", "previous_response_id": None}
ENGINE_FIELDS = (
    "kv_transfer_params", "ec_transfer_params", "input_messages", "output_messages", "metrics", "prompt", "user",
)  # fmt: skip
# Null fields of items, parts and tools that OpenAI does not send.
NULL_EXTRAS = frozenset(
    {"phase", "async", "caller", "namespace", "allowed_callers", "defer_loading", "output_schema", "verbosity"}
)
# vLLM begins every stream with these two, before it has looked at the request in full.
OPENING = frozenset({"response.created", "response.in_progress"})
ITEM_DONE = "response.output_item.done"
ENDINGS = {"completed": "response.completed", "incomplete": "response.incomplete", "failed": "response.failed"}


class ResponsesDialect:
    """POST /v1/responses as vLLM answers it."""

    def __init__(self, reported: Reported = unreported) -> None:
        self.errors = ErrorMap(prompt="input", format="text.format", reported=reported)

    def body(self, body: bytes, request: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        response = orjson.loads(body)
        mend(response, request.echo)
        return orjson.dumps(response), response["usage"]

    def stream(self, request: RequestHead) -> "ResponsesStream":
        return ResponsesStream(self.errors, request)


class ResponsesStream:
    """The events of one streamed response. The opening two wait until a third shows that the request is good."""

    def __init__(self, errors: ErrorMap, request: RequestHead) -> None:
        self.usage: dict[str, Any] | None = None
        self.error: ApiError | None = None
        self.done = False
        self._errors = errors
        self._echo = request.echo
        self._events = sse.Splitter()
        self._held = b""
        self._ended_item: dict[str, Any] | None = None  # waits: the next event shows whether it was cut

    def feed(self, piece: bytes) -> bytes:
        ready = b""
        for data in map(data_of, self._events.feed(piece)):
            if self.done or self.error or not data:
                continue
            event = orjson.loads(data)
            written = self._turn(event)
            if event.get("type") in OPENING:
                self._held += written
            elif written:
                ready += self._held + written
                self._held = b""
        return ready

    def _turn(self, event: dict[str, Any]) -> bytes:
        """The event as it is sent, after an item's end that waited for it."""
        if "error" in event and "type" not in event:
            self.error = self._errors.of_answer(event["error"].get("code") or 500, orjson.dumps(event))
            return b""
        if "response" in event:
            mend(event["response"], self._echo)
            if event["type"] not in OPENING:
                event["type"] = ENDINGS.get(event["response"]["status"], event["type"])
                self.usage = event["response"]["usage"]
                self.done = True
        for name in ("item", "part"):
            if name in event:
                _mend_item(event[name])
        ended, self._ended_item = self._ended_item, None
        if event["type"] == ITEM_DONE:
            self._ended_item = event
        elif ended and self.done and event["response"]["status"] == "incomplete":
            ended["item"]["status"] = "incomplete"
        ready = [ended] if ended else []
        ready += [] if self._ended_item else [event]
        return b"".join(sse.event(one, one["type"]) for one in ready) + (sse.DONE if self.done else b"")


def mend(response: dict[str, Any], echo: dict[str, Any]) -> None:
    """Make vLLM's Response one that OpenAI's schema and the Open Responses specification accept, in place."""
    for name in ENGINE_FIELDS:
        response.pop(name, None)
    for name, value in DEFAULTS.items():
        if response.get(name) is None:
            response[name] = value
    response |= FIXED | echo
    response["metadata"] = response.get("metadata") or {}
    if not response["tools"] and response["tool_choice"] == "none":
        response["tool_choice"] = "auto"
    response["text"].pop("verbosity", None)
    usage = response["usage"] = dict(response["usage"])
    usage["input_tokens_details"] = _known(usage["input_tokens_details"], NO_USAGE["input_tokens_details"])
    usage["output_tokens_details"] = _known(usage["output_tokens_details"], NO_USAGE["output_tokens_details"])
    for item in (*response["output"], *response["tools"]):
        _mend_item(item)
    if response["status"] == "incomplete" and response["output"]:
        response["output"][-1]["status"] = "incomplete"
    if response["status"] == "completed":
        response["completed_at"] = int(time.time())


def _known(details: dict[str, Any], like: Any) -> dict[str, Any]:
    return {name: details.get(name) or 0 for name in like}


def _mend_item(item: dict[str, Any]) -> None:
    """Remove the engine's null fields from an item, a part or a tool; text always has its two lists."""
    for name in NULL_EXTRAS.intersection(item):
        if item[name] is None:
            del item[name]
    if item.get("type") == "output_text":
        item["annotations"] = item.get("annotations") or []
        item["logprobs"] = item.get("logprobs") or []
    for part in item.get("content") or ():
        _mend_item(part)
