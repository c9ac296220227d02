"""Where the spans of requests go, for the gateway that makes some and the engine that makes others."""

import logging
import re
import time
from pathlib import Path
from typing import NamedTuple

HTTP, GRPC = "http/protobuf", "grpc"  # as OTEL_EXPORTER_OTLP_PROTOCOL names them
HTTP_PATH = "/v1/traces"  # of OTLP over HTTP, where an endpoint names none
# What the exporters log at each failure, several lines a batch.
EXPORT_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
)
LOG_PAUSE_S = 60.0


class TraceExport(NamedTuple):
    """A receiver of OTLP, such as an OpenTelemetry collector."""

    endpoint: str  # http:// or https://
    protocol: str = HTTP
    service_name: str = "portico"
    headers_file: str | None = None  # an absolute path

    @property
    def traces_url(self) -> str:
        """The endpoint as an exporter of spans takes it."""
        bare = self.protocol == HTTP and re.fullmatch(r"https?://[^/]+/?", self.endpoint)
        return self.endpoint.rstrip("/") + HTTP_PATH if bare else self.endpoint

    def headers(self) -> str | None:
        """What stands in the file of headers, in the form of OTEL_EXPORTER_OTLP_HEADERS. Raises OSError."""
        if self.headers_file is None:
            return None
        return ",".join(filter(None, map(str.strip, Path(self.headers_file).read_text().splitlines())))


class _Seldom(logging.Filter):
    """Lets one line pass in a while, and says how many it has held back."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0
        self._held = 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next:
            self._held += 1
            return False
        if self._held:
            record.msg = f"{record.msg} (and {self._held} such lines since the last)"
        self._next, self._held = now + LOG_PAUSE_S, 0
        return True


def log_failed_exports_seldom() -> None:
    """Have this process's exporters log one failure a minute: a receiver that is away must not fill the log."""
    for name in EXPORT_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, _Seldom) for one in logger.filters):
            logger.addFilter(_Seldom())
