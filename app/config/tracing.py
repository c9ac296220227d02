"""Where the spans of requests go, and of how many of them."""

from typing import Literal, Self

import pydantic
from pydantic import Field

from contract.fields import Strict
from contract.project import in_project
from contract.tracing import GRPC, TraceExport

ENDPOINT = r"^https?://[A-Za-z0-9.\-\[\]:]{1,255}(/[^\s?#@]*)?$"


class Tracing(Strict):
    """Spans of requests, as OpenTelemetry has them, sent by OTLP. Without an endpoint there are none."""

    endpoint: str | None = Field(
        None,
        pattern=ENDPOINT,
        description="of a collector: http://HOST:4318 for HTTP (/v1/traces is added where there is no path), "
        "http://HOST:4317 for gRPC; https:// with TLS. Left out: no tracing",
    )
    protocol: Literal["http/protobuf", "grpc"] = "http/protobuf"
    headers_file: str | None = Field(
        None,
        pattern=r"^\.?/",
        description="an absolute path, or one in the project that begins with ./, on every node: NAME=VALUE lines that "
        "are sent along, such as a token; else OTEL_EXPORTER_OTLP_HEADERS of the processes is used",
    )
    service_name: str = Field(
        "portico", min_length=1, max_length=64, description="of the gateway; an engine's has -MODEL behind it"
    )
    sample_ratio: float = Field(1.0, ge=0, le=1, description="of the requests that bring no decision of their client's")
    trust_client_sampling: bool = Field(
        True,
        description="whether the sampled flag of a client's traceparent decides for its request, where its key is "
        "good; false: only sample_ratio does. The client's trace id is kept anyhow",
    )

    @pydantic.model_validator(mode="after")
    def _the_protocol_fits(self) -> Self:
        endpoint = (self.endpoint or "").rstrip("/")
        # By value: the gateway's replicas get every field written out.
        if self.endpoint is None and any(getattr(self, n) != one.default for n, one in type(self).model_fields.items()):
            raise ValueError("endpoint is missing; without it nothing is traced. Name it, or remove `tracing`")
        if self.protocol == GRPC and endpoint.count("/") > 2:
            raise ValueError("endpoint has a path, and gRPC has none. Remove it, or write protocol: http/protobuf")
        usual = {":4318": "http/protobuf", ":4317": "grpc"}
        for port, protocol in usual.items():
            if endpoint.endswith(port) and protocol != self.protocol:
                raise ValueError(
                    f"endpoint ends in {port}, where collectors take {protocol}. Write protocol: {protocol}, or the "
                    "port of the other"
                )
        return self

    def export(self) -> TraceExport | None:
        """Where spans go; None: nowhere."""
        if self.endpoint is None:
            return None
        file = None if self.headers_file is None else in_project(self.headers_file)
        return TraceExport(self.endpoint, self.protocol, self.service_name, file)
