"""One request under way: what the handler of its route gets."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from app.budgets.account import BudgetStatus
from app.budgets.headers import rate_limit_headers
from app.config.limits import Limits
from app.endpoints.api_style import OPENAI, ApiStyle
from app.endpoints.routes import UNKNOWN, Match
from app.http.backlog import HEADER, Backlog
from app.http.body import Receive
from app.http.request_id import client_request_id_from, request_id_from
from app.http.response import ResponseWriter, Send
from app.keys import KeyEntry
from app.parameters.adjust import Adjusted
from app.parameters.adjustments import HEADER as ADJUSTMENTS_HEADER
from app.parameters.adjustments import header_value
from app.telemetry.record import RequestRecord
from app.telemetry.stopwatch import Stopwatch
from contract.adjustments import Adjustment
from contract.errors import ApiError

TRACE_ID_HEADER = "x-trace-id"


class Call:
    """The request as far as it is known, its response, and the record of both."""

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send, limits: Limits) -> None:
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self.client: str | None = (scope.get("client") or (None,))[0]  # the peer's address
        self.query: bytes = scope.get("query_string", b"")
        self.receive = receive
        self.clock = Stopwatch()
        self.record = RequestRecord(
            request_id_from(self.headers.get("x-request-id")),
            client_request_id_from(self.headers),
            UNKNOWN,
        )
        # Elsewhere `send` itself waits for the client.
        backlog = Backlog(receive, limits.stream_buffer_bytes) if HEADER in self.headers else None
        self.response = ResponseWriter(send, self._common_headers, limits.write_stall_timeout_s, backlog)
        self.budget_status: Callable[[], BudgetStatus] | None = None  # of the key's budget, where a key was recognised
        self.budget_notice: Callable[[], str | None] | None = None  # of a team that has monthly quotas
        self.style: ApiStyle = OPENAI  # of the route, where the path names one
        self._match: Match | None = None
        self._key: KeyEntry | None = None
        self._adjustments: Sequence[Adjustment] = ()

    @property
    def match(self) -> Match:
        """What the path names, once that is known."""
        if self._match is None:
            raise RuntimeError("a request has no route yet")
        return self._match

    @match.setter
    def match(self, match: Match) -> None:
        self._match = match
        self.record.route, self.record.is_probe = match.route.path, match.route.is_probe

    @property
    def key(self) -> KeyEntry:
        """The key of a route that needs one."""
        if self._key is None:
            raise RuntimeError(f"{self.record.route} was reached without a key")
        return self._key

    @key.setter
    def key(self, key: KeyEntry) -> None:
        self._key, self.record.key_id, self.record.team_id = key, key.id, key.team

    def authorization(self) -> str | None:
        """The key as an Authorization header has it; a route may take it from another header too."""
        return self.style.authorization(self.headers)

    async def fail(self, error: ApiError) -> None:
        """Answer with `error`."""
        envelope = self.style.envelope(error, self.record.request_id)
        await self.response.complete(error.status, error.headers(), orjson.dumps(envelope))

    def note(self, adjusted: Adjusted) -> None:
        """Take over what was changed in the request, for the header, and what the log is to hold."""
        if adjusted.adjustments and adjusted.adjustments is not self._adjustments:
            self._adjustments = adjusted.adjustments
            self.record.adjustments = header_value(adjusted.adjustments)
        self.record.accepted = adjusted.accepted

    def _common_headers(self, status: int) -> list[tuple[str, str]]:
        """The headers that every response has; it begins now."""
        record = self.record
        record.status, record.overhead_s, record.first_byte_s = status, self.clock.own(), self.clock.total()
        headers = [("x-request-id", record.request_id), ("x-gateway-overhead-ms", f"{record.overhead_s * 1000:.2f}")]
        if self.style.request_id_header is not None:
            headers.append((self.style.request_id_header, record.request_id))
        if record.trace is not None:
            headers.append((TRACE_ID_HEADER, record.trace.hex_id))
        if record.client_request_id is not None:
            headers.append(("x-client-request-id", record.client_request_id))
        if record.characters is not None:
            headers.append(("x-usage-characters", str(record.characters)))
        if self.budget_status is not None:
            headers += rate_limit_headers(self.budget_status(), time.time())
        if self.budget_notice is not None and (notice := self.budget_notice()) is not None:
            headers.append(("x-budget-notice", notice))
        if record.adjustments is not None:
            headers.append((ADJUSTMENTS_HEADER, record.adjustments))
        return headers
