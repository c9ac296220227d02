"""vLLM's own spans: one for each request that the gateway traces, under the gateway's span of its call."""

import os
from typing import Any

from contract.options.catalog import ServedModel
from contract.tracing import log_failed_exports_seldom

SAMPLER = "parentbased_always_off"  # the gateway decides; a trial and a start are nobody's request


def trace_arguments(model: ServedModel) -> dict[str, Any]:
    """The argument that has vLLM export spans, and none where nobody traces. Raises OSError.

    vLLM leaves all but the address to OpenTelemetry's variables, which are set for this process and the engine's own.
    What an entry's `env` says of the sampler and the service's name goes before.
    """
    export = model.tracing
    if export is None:
        return {}
    os.environ.setdefault("OTEL_TRACES_SAMPLER", SAMPLER)
    os.environ.setdefault("OTEL_SERVICE_NAME", f"{export.service_name}-{model.id}")
    os.environ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = export.protocol
    if (headers := export.headers()) is not None:
        os.environ["OTEL_EXPORTER_OTLP_TRACES_HEADERS"] = headers
    log_failed_exports_seldom()
    return {"otlp_traces_endpoint": export.traces_url}
