"""vLLM's answers to Anthropic's /v1/messages, turned into the contract's. Written for vLLM 0.32.

They leave out null fields that Anthropic has, count cached tokens only where there are some, and have no block in a
stream of no text.
"""

from typing import Any

import orjson

from contract import sse
from contract.errors import ApiError
from contract.protocol import RequestHead
from deployments.vllm.dialect import data_of
from deployments.vllm.errors import ErrorMap, Reported, unreported

ENGINE_FIELDS = ("kv_transfer_params", "ec_transfer_params")
INPUT_TOKENS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
NO_USAGE = dict.fromkeys((*INPUT_TOKENS, "output_tokens"), 0)
DELTA = b"event: content_block_delta\n"
NO_TEXT = {"type": "text", "text": ""}


class MessagesDialect:
    """POST /v1/messages as vLLM answers it."""

    def __init__(self, reported: Reported = unreported) -> None:
        self.errors = ErrorMap(prompt="messages", format="output_config.format", reported=reported)

    def question(self, body: bytes, _: RequestHead) -> bytes:
        return body

    def body(self, body: bytes, request: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        message = orjson.loads(body)
        mend(message, request)
        return orjson.dumps(message), charged(message["usage"])

    def stream(self, request: RequestHead) -> "MessagesStream":
        return MessagesStream(self.errors, request)


class MessagesStream:
    """The events of one streamed message. The deltas of its blocks pass as they are."""

    def __init__(self, errors: ErrorMap, request: RequestHead) -> None:
        self.usage: dict[str, Any] | None = None
        self.error: ApiError | None = None
        self.done = False
        self._errors = errors
        self._request = request
        self._events = sse.Splitter()
        self._has_block = False

    def feed(self, piece: bytes) -> bytes:
        events = self._events.feed(piece)
        return b"".join(out for event in events if not self.error and (out := self._turn(event)))

    def _turn(self, written: bytes) -> bytes:
        if written.startswith(DELTA):
            return written
        data = data_of(written)
        event = orjson.loads(data)
        match event.get("type"):
            case "message_start":
                mend(event["message"], self._request)
            case "content_block_start":
                self._has_block = True
                if event["content_block"]["type"] == "thinking":
                    event["content_block"]["signature"] = ""
            case "message_delta":
                event["usage"] = NO_USAGE | event["usage"]
                self.usage = charged(event["usage"])
                return (b"" if self._has_block else _empty_block()) + _written(event)
            case "message_stop":
                self.done = True
            case "error" | None:
                self.error = self._errors.of_answer(event["error"].get("code") or 500, data)
                return b""
        return _written(event)


class CountTokensDialect:
    """POST /v1/messages/count_tokens as vLLM answers it. Nothing is charged for."""

    def __init__(self, reported: Reported = unreported) -> None:
        self.errors = ErrorMap(prompt="messages", format="output_config.format", reported=reported)

    def question(self, body: bytes, _: RequestHead) -> bytes:
        return body

    def body(self, body: bytes, _: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        return orjson.dumps({"input_tokens": orjson.loads(body)["input_tokens"]}), {}

    def stream(self, request: RequestHead) -> MessagesStream:
        raise NotImplementedError(f"{request.route} has no stream")


def mend(message: dict[str, Any], request: RequestHead) -> None:
    """Give vLLM's message what Anthropic's has, in place."""
    for name in ENGINE_FIELDS:
        message.pop(name, None)
    message["id"] = f"msg_{request.request_id}"
    message["stop_reason"] = message.get("stop_reason")
    message["stop_sequence"] = message.get("stop_sequence")
    message["usage"] = NO_USAGE | message["usage"]
    if "metadata" in request.echo:
        message["metadata"] = request.echo["metadata"]


def charged(usage: dict[str, Any]) -> dict[str, Any]:
    """The whole usage, as other routes report it: cached tokens are of the prompt."""
    prompt = sum(usage[name] for name in INPUT_TOKENS)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage["output_tokens"],
        "total_tokens": prompt + usage["output_tokens"],
        "prompt_tokens_details": {"cached_tokens": usage["cache_read_input_tokens"]},
    }


def _written(event: dict[str, Any]) -> bytes:
    return sse.event(event, event["type"])


def _empty_block() -> bytes:
    """Of a message without text or calls, which has one block in any case."""
    begin = {"type": "content_block_start", "index": 0, "content_block": NO_TEXT}
    return _written(begin) + _written({"type": "content_block_stop", "index": 0})
