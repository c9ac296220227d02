"""vLLM's answers to /v1/responses, turned into the contract's. Written for vLLM 0.32.

It reports errors by breaking off a stream that it has begun, says `completed` of an answer that was cut, leaves out
fields that OpenAI requires, and adds fields of its own.
"""

import time
from contextlib import suppress
from typing import Any

import orjson

from contract import sse
from contract.errors import ApiError
from contract.protocol import RequestHead
from contract.responses import NO_USAGE
from deployments.vllm.custom_items import CallItems
from deployments.vllm.dialect import data_of
from deployments.vllm.errors import ErrorMap, Reported, unreported

# Fields of a Response that the specification wants and vLLM lacks or leaves null.
DEFAULTS: dict[str, Any] = {
    "completed_at": None,
    "error": None,
    "text": {},
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
# The fields of a function that are null at OpenAI too. No field of an item, of its parts or of a format is.
NULLABLE_IN_TOOLS = frozenset({"description", "parameters", "strict"})
# vLLM begins every stream with these two, before it has looked at the request in full.
OPENING = frozenset({"response.created", "response.in_progress"})
ITEM_DONE = "response.output_item.done"
ENDINGS = {"completed": "response.completed", "incomplete": "response.incomplete", "failed": "response.failed"}


class ResponsesDialect:
    """POST /v1/responses as vLLM answers it."""

    def __init__(self, reported: Reported = unreported) -> None:
        self.errors = ErrorMap(prompt="input", format="text.format", reported=reported)

    def question(self, body: bytes, request: RequestHead) -> bytes:
        """With the response's id, which vLLM's log then has; on this route it does not read the header."""
        name = b'{"request_id":"resp_%b"' % request.request_id.encode()
        return name + (b"}" if body == b"{}" else b"," + body[1:])

    def body(self, body: bytes, request: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        response = orjson.loads(body)
        CallItems(request).mend(response["output"])
        mend(response, _echo(request))
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
        self._echo = _echo(request)
        self._items = CallItems(request)
        self._events = sse.Splitter()
        self._held = b""
        self._ended_item: dict[str, Any] | None = None  # waits: the next event shows whether it was cut

    def feed(self, piece: bytes) -> bytes:
        ready = b""
        for data in map(data_of, self._events.feed(piece)):
            if self.done or self.error or not data:
                continue
            event = self._items.turn(orjson.loads(data))
            written = self._turn(event) if event else b""
            if event and event.get("type") in OPENING:
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
            _mark_cut(ended["item"])
        ready = [ended] if ended else []
        ready += [] if self._ended_item else [event]
        return b"".join(sse.event(one, one["type"]) for one in ready) + (sse.DONE if self.done else b"")


def _echo(request: RequestHead) -> dict[str, Any]:
    return request.echo | ((request.custom_calls and request.custom_calls.request) or {})


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
    response["text"] = {"format": response["text"].get("format") or {"type": "text"}}
    _remove_nulls(response["text"]["format"])
    response["reasoning"] = {"effort": None, "summary": None} | {
        name: value for name, value in response["reasoning"].items() if value is not None
    }
    usage = response["usage"] = dict(response["usage"])
    usage["input_tokens_details"] = _known(usage["input_tokens_details"], NO_USAGE["input_tokens_details"])
    usage["output_tokens_details"] = _known(usage["output_tokens_details"], NO_USAGE["output_tokens_details"])
    for tool in response["tools"]:
        _remove_nulls(tool, NULLABLE_IN_TOOLS if tool["type"] == "function" else frozenset())
    for item in response["output"]:
        _mend_item(item)
    if response["status"] == "incomplete" and response["output"]:
        _mark_cut(response["output"][-1])
    if response["status"] == "completed":
        response["completed_at"] = int(time.time())


def _known(details: dict[str, Any], like: Any) -> dict[str, Any]:
    return {name: details.get(name) or 0 for name in like}


def _mend_item(item: dict[str, Any]) -> None:
    """Remove the null fields of an item or a part; text always has its two lists."""
    _remove_nulls(item)
    if item.get("type") == "output_text":
        item["annotations"] = item.get("annotations") or []
        item["logprobs"] = item.get("logprobs") or []
    for part in item.get("content") or ():
        _mend_item(part)


def _mark_cut(item: dict[str, Any]) -> None:
    """Say of the last item of an incomplete response that it is cut. A whole call is not: another one had begun."""
    if item["type"] == "function_call":
        with suppress(orjson.JSONDecodeError):
            orjson.loads(item["arguments"])
            return
    item["status"] = "incomplete"


def _remove_nulls(fields: dict[str, Any], nullable: frozenset[str] = frozenset()) -> None:
    for name in [name for name, value in fields.items() if value is None and name not in nullable]:
        del fields[name]
