"""What the gateway counts. Labels come from closed sets: routes, configured models, statuses, reasons."""

import asyncio
from typing import Protocol

from ray.util.metrics import Counter, Gauge, Histogram

from app.background.supervisor import Loop
from app.telemetry.record import RequestRecord

STORE_CHECK_SECONDS = 5.0  # between two looks at whether the budget store answers
SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]


class StoreUser(Protocol):
    """Who depends on the budget store."""

    @property
    def store_unreachable(self) -> bool: ...


class Metrics(Protocol):
    """Receives every finished request."""

    def record(self, request: RequestRecord) -> None: ...


class RayMetrics:
    """Exports through Ray's metrics agent, which every node has and which outlives any replica."""

    def __init__(self) -> None:
        labels = ("route", "model")
        self._requests = Counter(
            "portico_requests", "Requests by status and reason (ok, an error's code, client_gone, reader_stalled).",
            (*labels, "status", "reason"),
        )  # fmt: skip
        self._seconds = Histogram("portico_request_seconds", "Whole time of a request.", SECONDS, labels)
        self._first_byte = Histogram("portico_first_byte_seconds", "Time to the first byte.", SECONDS, labels)
        self._overhead = Histogram(
            "portico_overhead_seconds", "The gateway's own time up to the first byte.", SECONDS, labels
        )
        self._first_token = Histogram(
            "portico_time_to_first_token_seconds", "Time to the first token of a stream of text.", SECONDS, labels
        )
        self._inter_token = Histogram(
            "portico_inter_token_seconds",
            "Mean time between the tokens of a stream of text, once for each stream.",
            SECONDS,
            labels,
        )
        self._store_unreachable = Gauge(
            "portico_budget_store_unreachable", "1 where this gateway replica does not reach the budget store, else 0."
        )
        self._refused = Counter(
            "portico_budget_refusals",
            "Requests refused because a budget was spent, by what of it.",
            ("key", "resource"),
        )
        self._key_requests = Counter("portico_key_requests", "Requests by the key's public id.", ("key",))
        self._key_tokens = Counter("portico_key_tokens", "Tokens by the key's public id.", ("key", "kind"))
        self._loop_failures = Counter(
            "portico_background_loop_failures", "Failures of the gateway's background loops; each begins again.",
            ("loop",),
        )  # fmt: skip
        self._waiting = Gauge(
            "portico_waiting_requests", "Requests that wait in this gateway replica for a place at a model.", ("model",)
        )
        self._queue_refusals = Counter(
            "portico_queue_refusals", "Requests refused because a model's queue was full.", ("model",)
        )
        self._tokens = Counter("portico_tokens", "Tokens by kind (prompt, completion).", (*labels, "kind"))

    def record(self, request: RequestRecord) -> None:
        labels = {"route": request.route, "model": request.model_id or ""}
        self._requests.inc(1, {**labels, "status": str(request.status or 0), "reason": request.reason})
        self._seconds.observe(request.total_s, labels)
        if request.first_byte_s is not None:
            self._first_byte.observe(request.first_byte_s, labels)
            self._overhead.observe(request.overhead_s, labels)
        if (seconds := request.first_token_s()) is not None:
            self._first_token.observe(seconds, labels)
        if (seconds := request.inter_token_s()) is not None:
            self._inter_token.observe(seconds, labels)
        for kind, tokens in request.tokens().items():
            if tokens:
                self._tokens.inc(tokens, {**labels, "kind": kind})
        if request.key_id is not None:
            self._record_key(request, request.key_id)

    def _record_key(self, request: RequestRecord, key: str) -> None:
        self._key_requests.inc(1, {"key": key})
        if request.refused_resource is not None:
            self._refused.inc(1, {"key": key, "resource": request.refused_resource})
        for kind, tokens in request.tokens().items():
            if tokens:
                self._key_tokens.inc(tokens, {"key": key, "kind": kind})

    def set_waiting(self, model_id: str, number: int) -> None:
        self._waiting.set(number, {"model": model_id})

    def count_queue_refusal(self, model_id: str) -> None:
        self._queue_refusals.inc(1, {"model": model_id})

    def count_loop_failure(self, loop: Loop) -> None:
        self._loop_failures.inc(1, {"loop": loop.value})

    async def follow_store(self, budgets: StoreUser) -> None:
        """Show for as long as this process lives whether `budgets` reach the budget store."""
        while True:
            self._store_unreachable.set(float(budgets.store_unreachable))
            await asyncio.sleep(STORE_CHECK_SECONDS)
