"""A receiver of OTLP traces in this process, over HTTP: what a collector is to the service."""

import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from contract.tracing import HTTP_PATH

MAX_SPANS = 100_000  # of a whole run of the tests


class Span(NamedTuple):
    """One span, as it came."""

    name: str
    service: str  # the resource's name
    trace_id: str
    span_id: str
    parent_id: str  # empty: none
    kind: int
    begins_ns: int
    ends_ns: int
    failed: bool
    attributes: dict[str, Any]
    state: str
    everything: str  # protobuf's own text of it


def spans_in(request: ExportTraceServiceRequest) -> list[Span]:
    return [
        Span(
            span.name,
            attributes_of(of_service.resource).get("service.name", ""),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.kind,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.status.code == span.status.STATUS_CODE_ERROR,
            attributes_of(span),
            span.trace_state,
            str(span),
        )
        for of_service in request.resource_spans
        for scope in of_service.scope_spans
        for span in scope.spans
    ]


def attributes_of(message: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in message.attributes}


class OtlpReceiver:
    """Keeps all spans that come."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self._spans: deque[Span] = deque(maxlen=MAX_SPANS)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                known = self.path == HTTP_PATH
                if known:
                    receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                    receiver.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200 if known else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        self._spans.extend(spans_in(request))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def all_spans(self) -> list[Span]:
        return list(self._spans)

    def spans(self, trace_id: str) -> dict[str, Span]:
        """Those of a trace, by name."""
        return {span.name: span for span in self.all_spans() if span.trace_id == trace_id}

    def wait(self, trace_id: str, number: int, seconds: float = 20) -> dict[str, Span]:
        """The spans of a trace, once there are so many."""
        deadline = time.monotonic() + seconds
        while len(spans := self.spans(trace_id)) < number:
            assert time.monotonic() < deadline, f"{len(spans)} spans of {number} have come: {sorted(spans)}"
            time.sleep(0.05)
        return spans
