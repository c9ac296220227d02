"""The spans of one request, made of its record once it has ended. Never text of a prompt, never a key.

    POST /v1/chat/completions      all of it
      admission                    its key's budget
      queue                        the wait for a place at the model
      chat MODEL                   the call to the model, which is the parent of the engine's own span

The attributes of the last are those of OpenTelemetry's conventions for generative AI, where these have one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from app.telemetry.record import CLIENT_GONE, OK, READER_STALLED, RequestRecord
from app.telemetry.trace import Trace
from contract.project import VERSION
from contract.protocol import CHAT_ROUTE, COMPLETIONS_ROUTE, EMBEDDINGS_ROUTE, MESSAGES_ROUTE, RESPONSES_ROUTE

SCOPE = InstrumentationScope("portico", VERSION)
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
UNSET = Status()
MAX_SPAN_ID = 2**64 - 1
# By route; of another route it is the last part, such as `transcriptions`.
OPERATIONS = {
    CHAT_ROUTE: "chat",
    RESPONSES_ROUTE: "chat",
    MESSAGES_ROUTE: "chat",
    COMPLETIONS_ROUTE: "text_completion",
    EMBEDDINGS_ROUTE: "embeddings",
}
# Parameters that are numbers, by what engines call them: no text of a client is among them.
PARAMETERS = {
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
    "dimensions": "gen_ai.embeddings.dimension.count",
}
TOKENS = {"prompt": "gen_ai.usage.input_tokens", "completion": "gen_ai.usage.output_tokens"}
DETAILS = ("prompt_tokens_details", "input_tokens_details")  # of a usage: how much of the prompt was cached

Attributes = dict[str, Any]


def spans_of(trace: Trace, record: RequestRecord, resource: Resource) -> Iterator[ReadableSpan]:
    """From the outermost on."""
    make = _Maker(trace, resource)
    status = Status(StatusCode.ERROR, record.reason) if _has_failed(record) else UNSET
    name = f"{trace.method} {record.route}"
    own, whole = _request(trace, record), (0.0, record.total_s)
    kind = SpanKind.SERVER
    yield make.span(name, make.request, make.client, times_s=whole, attributes=own, kind=kind, status=status)
    if (asked := record.admission_at_s) is not None:
        refused: Attributes = {} if record.refused_resource is None else {"portico.refused": record.refused_resource}
        admitted = record.total_s if record.admission_s is None else asked + record.admission_s
        yield make.span("admission", make.part(1), make.request, times_s=(asked, admitted), attributes=refused)
    if (queued := record.queued_at_s) is None or record.queue_s is None:
        return
    placed = queued + record.queue_s
    yield make.span("queue", make.part(2), make.request, times_s=(queued, placed))
    if record.engine_s is not None:
        call, times = _call(trace, record, placed), (placed, placed + record.engine_s)
        name = f"{call['gen_ai.operation.name']} {record.model_id}"
        kind = SpanKind.CLIENT
        yield make.span(name, make.part(0), make.request, times_s=times, attributes=call, kind=kind, status=status)


class _Maker:
    """Makes the spans of one trace."""

    def __init__(self, trace: Trace, resource: Resource) -> None:
        self._trace = trace
        self._resource = resource
        self._state = TraceState.from_header([trace.tracestate]) if trace.tracestate else None
        self.request = SpanContext(trace.trace_id, trace.span_id, False, SAMPLED, self._state)
        self.client: SpanContext | None = None
        if trace.parent_id is not None:
            self.client = SpanContext(trace.trace_id, trace.parent_id, True, SAMPLED, self._state)

    def part(self, number: int) -> SpanContext:
        """Of the call to the model (0), or of another part of the request."""
        span_id = (self._trace.call_id + number - 1) % MAX_SPAN_ID + 1  # never 0
        return SpanContext(self._trace.trace_id, span_id, False, SAMPLED, self._state)

    def span(
        self,
        name: str,
        own: SpanContext,
        parent: SpanContext | None,
        *,
        times_s: tuple[float, float],
        attributes: Attributes | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        status: Status = UNSET,
    ) -> ReadableSpan:
        """`times_s`: since the request came."""
        begins, ends = (self._trace.began_ns + int(seconds * 1e9) for seconds in times_s)
        return ReadableSpan(
            name, own, parent, self._resource, attributes, kind=kind, status=status, start_time=begins, end_time=ends,
            instrumentation_scope=SCOPE,
        )  # fmt: skip


def _has_failed(record: RequestRecord) -> bool:
    """Whether the service is to blame; not so for what it refuses, and for a client that leaves."""
    if (record.status or 0) >= 500:
        return True
    broken = record.reason not in (OK, CLIENT_GONE, READER_STALLED)
    return broken and (record.status or 0) < 400  # a stream that has begun with 200


def _request(trace: Trace, record: RequestRecord) -> Attributes:
    return _known({
        "http.request.method": trace.method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "error.type": None if record.reason == OK else record.reason,
        "portico.request_id": record.request_id,
        "portico.key": record.key_id,
        "portico.model": record.model_id,
        "portico.reason": record.reason,
        "portico.overhead_ms": round(record.overhead_s * 1000, 2),
    })  # fmt: skip


def _call(trace: Trace, record: RequestRecord, began_s: float) -> Attributes:
    """`began_s` is when the call began."""
    given = trace.parameters
    first_token = record.first_token_s()
    return _known({
        "gen_ai.operation.name": OPERATIONS.get(record.route) or record.route.rpartition("/")[2],
        "gen_ai.provider.name": trace.engine,
        "gen_ai.request.model": record.model_id,
        "gen_ai.response.model": record.model_id if record.status == 200 else None,
        "gen_ai.request.stream": True if record.streamed else None,
        "gen_ai.response.time_to_first_chunk": None if first_token is None else max(0.0, first_token - began_s),
        "gen_ai.usage.cache_read.input_tokens": _cached(record.usage or {}),
        "error.type": None if record.reason == OK else record.reason,
        **{PARAMETERS[name]: given[name] for name in PARAMETERS if _fits(given.get(name))},
        **{TOKENS[kind]: number for kind, number in record.tokens().items()},
    })  # fmt: skip


def _fits(value: Any) -> bool:
    """Whether it is a number that OTLP has room for: one that it has not would cost the whole batch."""
    return isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63)


def _cached(usage: Mapping[str, Any]) -> int | None:
    found: Mapping[str, Any] = next((usage[name] for name in DETAILS if usage.get(name)), {})
    cached = found.get("cached_tokens")
    return cached if isinstance(cached, int) else None


def _known(attributes: Attributes) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}
