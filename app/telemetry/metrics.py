"""What the gateway counts. Labels come from closed sets: routes, configured models, statuses, reasons."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from app.background.supervisor import Loop
from app.telemetry.instruments import BatchedCounter, BatchedGauge, BatchedHistogram, Instrument
from app.telemetry.record import RequestRecord

STORE_CHECK_SECONDS = 5.0  # between two looks at whether the budget store answers
EXPORT_SECONDS = 1.0  # between two exports to Ray
CALLS_AT_ONCE = 100  # of an export, about half a millisecond; then the requests have their turn
SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]


class StoreUser(Protocol):
    """Who depends on the budget store."""

    @property
    def store_unreachable(self) -> bool: ...


class QuotaFigures(NamedTuple):
    """What a team has used of a resource in this month, in tokens or in units of the currency."""

    team: str
    resource: str  # tokens, cost
    used: float
    limits: dict[str, float]  # soft, hard


class Metrics(Protocol):
    """Receives every finished request."""

    def record(self, request: RequestRecord) -> None: ...


class RayMetrics:
    """Exports through Ray's metrics agent, which every node has and which outlives any replica.

    What is recorded waits here until `export`.
    """

    def __init__(self) -> None:
        labels = ("route", "model")
        self._instruments: list[Instrument] = []
        self._requests = self._counter(
            "portico_requests",
            "Requests by status and reason (ok, an error's code, client_gone, reader_stalled).",
            (*labels, "status", "reason"),
        )
        self._seconds = self._histogram("portico_request_seconds", "Whole time of a request.")
        self._first_byte = self._histogram("portico_first_byte_seconds", "Time to the first byte.")
        self._overhead = self._histogram("portico_overhead_seconds", "The gateway's own time up to the first byte.")
        self._first_token = self._histogram(
            "portico_time_to_first_token_seconds", "Time to the first token of a stream of text."
        )
        self._inter_token = self._histogram(
            "portico_inter_token_seconds", "Mean time between the tokens of a stream of text, once for each stream."
        )
        self._store_unreachable = self._gauge(
            "portico_budget_store_unreachable",
            "1 where this gateway replica does not reach the budget store, else 0.",
            (),
        )
        self._team_use = self._gauge(
            "portico_team_monthly_use",
            "What a team has used in this month (tokens, cost), as far as this gateway replica knows.",
            ("team", "resource"),
        )
        self._team_limit = self._gauge(
            "portico_team_monthly_limit",
            "What a team may use in a month (tokens, cost), softly or at the most.",
            ("team", "resource", "limit"),
        )
        self._refused = self._counter(
            "portico_budget_refusals",
            "Requests refused because a budget was spent, by what of it.",
            ("key", "resource"),
        )
        self._key_requests = self._counter("portico_key_requests", "Requests by the key's public id.", ("key",))
        self._key_tokens = self._counter("portico_key_tokens", "Tokens by the key's public id.", ("key", "kind"))
        self._loop_failures = self._counter(
            "portico_background_loop_failures",
            "Failures of the gateway's background loops; each begins again.",
            ("loop",),
        )
        self._waiting = self._gauge(
            "portico_waiting_requests", "Requests that wait in this gateway replica for a place at a model.", ("model",)
        )
        self._queue_refusals = self._counter(
            "portico_queue_refusals", "Requests refused because a model's queue was full.", ("model",)
        )
        self._spans = self._counter(
            "portico_trace_spans", "Spans of traced requests, by what became of them.", ("outcome",)
        )
        self._usage_waiting = self._gauge(
            "portico_usage_rows_waiting", "Rows of this gateway replica that the usage ledger has not taken yet.", ()
        )
        self._usage_lost = self._counter("portico_usage_rows_lost", "Requests whose usage no ledger has.", ())
        self._tokens = self._counter("portico_tokens", "Tokens by kind (prompt, completion).", (*labels, "kind"))

    def record(self, request: RequestRecord) -> None:
        route, model, key = request.route, request.model_id or "", request.key_id
        tokens = request.tokens()
        self._requests.add(1, route, model, str(request.status or 0), request.reason)
        self._seconds.observe(request.total_s, route, model)
        if request.first_byte_s is not None:
            self._first_byte.observe(request.first_byte_s, route, model)
            self._overhead.observe(request.overhead_s, route, model)
        if (seconds := request.first_token_s()) is not None:
            self._first_token.observe(seconds, route, model)
        if (seconds := request.inter_token_s()) is not None:
            self._inter_token.observe(seconds, route, model)
        for kind, number in tokens.items():
            if number:
                self._tokens.add(number, route, model, kind)
                if key is not None:
                    self._key_tokens.add(number, key, kind)
        if key is not None:
            self._key_requests.add(1, key)
            if request.refused_resource is not None:
                self._refused.add(1, key, request.refused_resource)

    def set_waiting(self, model_id: str, number: int) -> None:
        self._waiting.set(number, model_id)

    def count_queue_refusal(self, model_id: str) -> None:
        self._queue_refusals.add(1, model_id)

    def count_spans(self, number: int, outcome: str) -> None:
        self._spans.add(number, outcome)

    def show_waiting_usage(self, rows: int) -> None:
        self._usage_waiting.set(rows)

    def count_lost_usage(self, rows: int) -> None:
        self._usage_lost.add(rows)

    def count_loop_failure(self, loop: Loop) -> None:
        self._loop_failures.add(1, loop.value)

    async def follow_store(self, budgets: StoreUser) -> None:
        """Show for as long as this process lives whether `budgets` reach the budget store."""
        while True:
            self._store_unreachable.set(float(budgets.store_unreachable))
            await asyncio.sleep(STORE_CHECK_SECONDS)

    async def follow_quotas(self, figures: Callable[[], Iterable[QuotaFigures]]) -> None:
        """Show for as long as this process lives what teams have used."""
        while True:
            for one in figures():
                self._team_use.set(one.used, one.team, one.resource)
                for limit, amount in one.limits.items():
                    self._team_limit.set(amount, one.team, one.resource, limit)
            await asyncio.sleep(STORE_CHECK_SECONDS)

    async def keep_exported(self) -> None:
        """Export every second for as long as this process lives."""
        while True:
            await asyncio.sleep(EXPORT_SECONDS)
            await self.export()

    async def export(self) -> None:
        """Hand everything that was recorded to Ray, between other work of the event loop."""
        for number, _ in enumerate(self._calls(), start=1):
            if number % CALLS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _calls(self) -> Iterator[None]:
        for instrument in self._instruments:
            yield from instrument.export()

    def _counter(self, name: str, description: str, label_names: tuple[str, ...]) -> BatchedCounter:
        counter = BatchedCounter(name, description, label_names)
        self._instruments.append(counter)
        return counter

    def _histogram(self, name: str, description: str) -> BatchedHistogram:
        histogram = BatchedHistogram(name, description, SECONDS, ("route", "model"))
        self._instruments.append(histogram)
        return histogram

    def _gauge(self, name: str, description: str, label_names: tuple[str, ...]) -> BatchedGauge:
        gauge = BatchedGauge(name, description, label_names)
        self._instruments.append(gauge)
        return gauge
