"""One JSON line for each request that a replica answers, by the names of the gateway's own line: one id finds both.

They go to the replica's standard output, which Ray keeps in its log. Never text of a prompt or an answer.
"""

import time
from collections.abc import Callable
from typing import Any

import orjson

from contract.line_writer import LineWriter, standard_output
from contract.log_lines import fields
from contract.protocol import RequestHead, ResponseHead, ResponseTail
from contract.serve_replica import replica_id

LOGGER = "portico.request"
OK, CLIENT_GONE = "ok", "client_gone"
PROMPT, COMPLETION = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")


def started_log() -> LineWriter | None:
    """For a replica's constructor. None without Serve, such as in a notebook."""
    if replica_id() is None:
        return None
    writer = standard_output()
    writer.start()
    return writer


class RequestLine:
    """What is known of one request, and its line once it has ended."""

    __slots__ = ("_began", "_first", "_model", "_reason", "_request", "_status", "_streamed", "_usage")

    def __init__(self, model: str, request: RequestHead) -> None:
        self._model = request.adapter.id if request.adapter else model
        self._request = request
        self._began = time.perf_counter()
        self._first: float | None = None
        self._status: int | None = None
        self._streamed = False
        self._reason = CLIENT_GONE  # unless it ends in another way
        self._usage: dict[str, Any] | None = None

    def begin_stream(self, status: int) -> None:
        """Its first piece goes out."""
        self._first = time.perf_counter()
        self._status, self._streamed = status, True

    def end(self, item: ResponseHead | ResponseTail) -> None:
        """A whole answer, or the tail of a stream, is there."""
        if isinstance(item, ResponseHead):
            self._status = item.status
        self._first = self._first or time.perf_counter()
        self._usage = item.usage
        self._reason = OK if item.error is None else item.error["code"]

    def write(self, log: Callable[[bytes], None]) -> None:
        """Hand the whole line on."""
        usage = self._usage or {}
        route = self._request.route
        line = fields(time.time(), "info", LOGGER, f"{route} {self._status} {self._reason}") | {
            "request_id": self._request.request_id,
            "route": route,
            "model": self._model,
            "status": self._status,
            "reason": self._reason,
            "stream": self._streamed,
            "queue_ms": round(self._request.queue_ms, 2),
            "first_byte_ms": None if self._first is None else _milliseconds(self._first - self._began),
            "engine_ms": _milliseconds(time.perf_counter() - self._began),
            "prompt_tokens": next((usage[name] for name in PROMPT if name in usage), None),
            "completion_tokens": next((usage[name] for name in COMPLETION if name in usage), None),
        }
        if self._request.traceparent:
            line["trace_id"] = self._request.traceparent.split("-")[1]
        log(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
