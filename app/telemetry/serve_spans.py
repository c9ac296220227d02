"""Exports the spans that Ray Serve makes itself, by OTLP: what RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH may name.

Serve calls `span_processors` in each of its processes when it starts there, and knows no settings for it: where the
spans go is said by the standard variables, OTEL_EXPORTER_OTLP_ENDPOINT and the like.
"""

import os

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from app.telemetry.tracer import exporter
from contract.tracing import HTTP


def span_processors() -> list[SpanProcessor]:
    """What Serve is to hand its spans to."""
    common = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", HTTP)
    return [BatchSpanProcessor(exporter(os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", common)))]
