"""Traces requests: decides which, and has their spans exported by OTLP, on a thread, in batches, from a bounded queue.

A receiver that is slow or away costs spans and never a request. Imported only where tracing is configured.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import get_current_span
from opentelemetry.util.re import parse_env_headers

from app.telemetry.record import RequestRecord
from app.telemetry.spans import spans_of
from app.telemetry.trace import Parent, Trace, parent_from
from contract.tracing import GRPC, TraceExport, log_failed_exports_seldom

MAX_WAITING_SPANS = 8192  # a few MB; about as many seconds of traffic as a receiver may be away
LAST_EXPORT_S = 2.0  # for what waits when the process ends
RATIO_BITS = 2**64
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "_OTHER"  # as the conventions have it: a method is a client's string

EXPORTED, FAILED, DROPPED = "exported", "failed", "dropped"
Count = Callable[[int, str], None]  # (spans, what became of them); called from any thread


def exporter(protocol: str, endpoint: str | None = None, headers: str | None = None) -> SpanExporter:
    """OpenTelemetry's own. What is left out comes from the variables OTEL_EXPORTER_OTLP_*, as all the rest does."""
    log_failed_exports_seldom()
    given = dict(parse_env_headers(headers, liberal=True)) if headers else None
    return GrpcExporter(endpoint, headers=given) if protocol == GRPC else HttpExporter(endpoint, headers=given)


class _Counted(SpanExporter):
    """An exporter whose spans are counted, and which gives up at the end of the process."""

    def __init__(self, inner: SpanExporter, count: Count) -> None:
        self.taken = 0  # spans, out of the queue
        self.ends_at: float | None = None
        self._inner = inner
        self._count = count

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        late = self.ends_at is not None and time.monotonic() > self.ends_at
        result = SpanExportResult.FAILURE if late else self._inner.export(spans)
        self._count(len(spans), EXPORTED if result is SpanExportResult.SUCCESS else FAILED)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class Tracer:
    """Traces the requests of one gateway replica. For one event loop."""

    def __init__(
        self, export: TraceExport, sample_ratio: float, count: Count, *, trust_client_sampling: bool = True
    ) -> None:
        """Raises OSError where the file of headers cannot be read."""
        self._bound = round(sample_ratio * RATIO_BITS)
        self._trusts = trust_client_sampling
        self._count = count
        self._resource = Resource.create({SERVICE_NAME: export.service_name})
        self._exporter = _Counted(exporter(export.protocol, export.traces_url, export.headers()), count)
        self._processor = BatchSpanProcessor(self._exporter, max_queue_size=MAX_WAITING_SPANS)
        self._handed = 0  # spans, to the queue
        self._open = 0
        self._retired = False

    def begin(self, method: str, headers: Mapping[str, str]) -> Trace:
        """The trace of a request that has come now. Each ends with `end`."""
        self._open += 1
        parent = _serves_span() or parent_from(headers)
        ids = random.getrandbits(128) | 1, random.getrandbits(64) | 1, random.getrandbits(64) | 1
        began, method = time.time_ns(), method if method in METHODS else OTHER_METHOD
        if parent is None:
            return Trace(*ids, self._is_drawn(ids[0]), began, method)
        sampled = parent.sampled if self._trusts else self._is_drawn(parent.trace_id)
        return Trace(parent.trace_id, *ids[1:], sampled, began, method, parent.span_id, parent.tracestate)

    def _is_drawn(self, trace_id: int) -> bool:
        """By the trace's id, so that all who see it decide alike."""
        return trace_id % RATIO_BITS < self._bound

    def end(self, trace: Trace, record: RequestRecord) -> None:
        """The request has ended."""
        self._open -= 1
        # Who has no good key decides nothing, or anybody could have everything traced.
        counts = trace.sampled if record.key_id is not None else trace.sampled and self._is_drawn(trace.trace_id)
        if counts and not record.is_probe:
            self._hand_over(list(spans_of(trace, record, self._resource)))
        if self._retired and self._open == 0:
            self._end_soon()

    def _hand_over(self, spans: Sequence[ReadableSpan]) -> None:
        """All or none. The processor's own queue would drop the oldest, in parts, so it is never let get full."""
        if self._handed - self._exporter.taken + len(spans) > MAX_WAITING_SPANS:
            self._count(len(spans), DROPPED)
            return
        self._handed += len(spans)
        for span in spans:
            self._processor.on_end(span)

    def retire(self) -> None:
        """End once the requests have ended that are traced now; no other follows."""
        self._retired = True
        if self._open == 0:
            self._end_soon()

    def close(self) -> None:
        """Export what waits, and end. Blocks, for two seconds at most."""
        self._end_soon().join(LAST_EXPORT_S)

    def _end_soon(self) -> threading.Thread:
        self._exporter.ends_at = time.monotonic() + LAST_EXPORT_S
        ending = threading.Thread(target=self._processor.shutdown, name="portico-last-spans", daemon=True)
        ending.start()
        return ending


def _serves_span() -> Parent | None:
    """The span that Serve has made of this request, where its own tracing is on: it has read the client's headers."""
    context = get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return Parent(context.trace_id, context.span_id, context.trace_flags.sampled, context.trace_state.to_header())
