"""The tracer of a gateway replica, where the configuration has one: OpenTelemetry is loaded then, and only then."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

from app.config.tracing import Tracing
from app.gateway.application import Tracer

TRACER = "app.telemetry.tracer"


def make_tracer(settings: Tracing, count: Callable[[int, str], None], loop: asyncio.AbstractEventLoop) -> Tracer | None:
    """`count` is called on `loop`, with a number of spans and what became of them. Blocks. Raises OSError."""
    export = settings.export()
    if export is None:
        return None

    def count_soon(spans: int, outcome: str) -> None:
        with suppress(RuntimeError):  # the process ends
            loop.call_soon_threadsafe(count, spans, outcome)

    tracer: Tracer = import_module(TRACER).Tracer(
        export, settings.sample_ratio, count_soon, trust_client_sampling=settings.trust_client_sampling
    )
    return tracer
