"""One request and its one response, as the gateway keeps them: identity, times, outcome, headers."""

import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from app.budgets.account import BudgetStatus
from app.budgets.headers import rate_limit_headers
from app.parameters.adjust import Adjusted
from app.parameters.adjustments import HEADER as ADJUSTMENTS_HEADER
from app.parameters.adjustments import header_value
from contract.errors import ApiError

T = TypeVar("T")
Send = Callable[[dict[str, Any]], Awaitable[None]]

UUID_FORM = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
MAX_CLIENT_ID_LENGTH = 512

EVENT_STREAM_HEADERS = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache, no-transform"),
    ("x-accel-buffering", "no"),
)


def request_id_from(header: str | None) -> str:
    """The client's own id where it is a UUID, else a new one."""
    return header if header is not None and UUID_FORM.fullmatch(header) else str(uuid.uuid4())


def client_request_id_from(header: str | None) -> str | None:
    """The client's X-Client-Request-Id where it may be echoed: printable ASCII, at most 512 characters."""
    if header is None or len(header) > MAX_CLIENT_ID_LENGTH or not (header.isascii() and header.isprintable()):
        return None
    return header


class Stopwatch:
    """Splits the time up to the first byte into the gateway's own and everything else's. Seconds."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._elsewhere = 0.0
        self._paused_at: float | None = None

    def pause(self) -> None:
        """From here on somebody else works: the client that uploads, or the engine."""
        self._paused_at = time.perf_counter()

    def resume(self) -> None:
        if self._paused_at is not None:
            self._elsewhere += time.perf_counter() - self._paused_at
            self._paused_at = None

    def outside(self, wait: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
        """`wait`, whose time is somebody else's."""

        async def waiting() -> T:
            self.pause()
            try:
                return await wait()
            finally:
                self.resume()

        return waiting

    def total(self) -> float:
        return time.perf_counter() - self._start

    def own(self) -> float:
        self.resume()
        return self.total() - self._elsewhere


class Reply:
    """The response to one request, and what the access log and the metrics will say of it."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self.request_id = request_id_from(headers.get("x-request-id"))
        self.clock = Stopwatch()
        self.status: int | None = None
        self.route = ""
        self.is_probe = False  # health, readiness, metrics: asked by machines every few seconds
        self.model_id: str | None = None
        self.key_id: str | None = None
        self.makes_text = False  # whether its tokens are a text's
        self.streamed = False
        self.usage: dict[str, Any] | None = None
        self.characters: int | None = None  # of a request that is counted by them
        self.events = 0  # of a stream, written so far
        self.reason = "ok"  # "ok", an error's code, or "client_gone"
        self.overhead_s = 0.0
        self.first_byte_s: float | None = None
        self.budget_status: Callable[[], BudgetStatus] | None = None  # of the key's budget, where a key was recognised
        self.refused_resource: str | None = None  # what of it was spent
        self.accepted: dict[str, Any] = {}  # what the client says of its user, for the log
        self._adjustments: str | None = None
        self._client_id = client_request_id_from(headers.get("x-client-request-id"))
        self._send = send

    @property
    def started(self) -> bool:
        return self.status is not None

    def tokens(self) -> dict[str, int]:
        """Tokens used, by kind; empty where nothing was reported."""
        usage = self.usage or {}
        named = {"prompt": ("prompt_tokens", "input_tokens"), "completion": ("completion_tokens", "output_tokens")}
        return {kind: usage[name] for kind, names in named.items() for name in names if name in usage}

    def first_token_s(self) -> float | None:
        """Time to the first token of a streamed text; None for anything else, such as an answer that comes whole."""
        return self.first_byte_s if self.makes_text and self.streamed else None

    def inter_token_s(self) -> float | None:
        """Mean time between the tokens of a streamed text that ended well; None for anything else."""
        tokens = self.tokens().get("completion", 0)
        if not (self.makes_text and self.streamed and self.reason == "ok" and tokens > 1):
            return None
        return (self.clock.total() - (self.first_byte_s or 0.0)) / (tokens - 1)

    def note(self, adjusted: Adjusted) -> None:
        """Take over what was changed in the request, for the header, and what the log is to hold."""
        if adjusted.adjustments:
            self._adjustments = header_value(adjusted.adjustments)
        self.accepted = adjusted.accepted

    async def complete(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """The whole response at once."""
        await self.start(status, [*headers, ("content-length", str(len(body)))])
        await self.finish(body)

    async def error(self, error: ApiError) -> None:
        self.reason = error.code
        await self.complete(error.status, error.headers(), error.body())

    async def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        self.status = status
        self.overhead_s, self.first_byte_s = self.clock.own(), self.clock.total()
        own = [("x-request-id", self.request_id), ("x-gateway-overhead-ms", f"{self.overhead_s * 1000:.2f}")]
        if self._client_id is not None:
            own.append(("x-client-request-id", self._client_id))
        if self.characters is not None:
            own.append(("x-usage-characters", str(self.characters)))
        if self.budget_status is not None:
            own += rate_limit_headers(self.budget_status(), time.time())
        if self._adjustments is not None:
            own.append((ADJUSTMENTS_HEADER, self._adjustments))
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (*headers, *own)]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def finish(self, last: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": last, "more_body": False})
