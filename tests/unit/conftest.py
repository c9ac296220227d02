"""A gateway without Ray and without an engine: a stand-in relay answers with what a test gives it."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.budgets.admission import Budgets
from app.budgets.estimate import Estimator
from app.budgets.exact import ExactBudgets
from app.budgets.use_book import UseBook
from app.commands.findings import vllm_arguments
from app.config.limits import KeptImages, Limits
from app.config.service import Config, parse_config
from app.endpoints.catalog import ENDPOINTS
from app.endpoints.endpoint import Endpoint
from app.gateway.application import Gateway, Tracer
from app.gateway.image_store import ImageStore
from app.gateway.open_streams import OpenStreams
from app.gateway.teams import Teams
from app.http.bodies_in_flight import BodiesInFlight
from app.keys import LOCAL_KEY, KeyRing, hash_key, public_id
from app.telemetry.acceptance import Acceptance
from app.telemetry.metrics import Metrics
from app.telemetry.record import RequestRecord
from app.tokens.verifier import TokenVerifier
from app.upstream.answer import Ending, Pieces
from app.upstream.fair_relay import FairRelay
from app.upstream.model_queues import ModelQueues
from app.upstream.registry import Readiness, Registry
from app.upstream.stream_buffer import filled
from app.usage.ledger import UsageLedger
from contract.errors import ApiError
from contract.profile import Profile
from contract.protocol import RequestHead, ResponseHead, ResponseItem, ResponseTail

SCOPED_KEY = "sk-portico-scoped000000-" + "s" * 43


def config_args(**changes: Any) -> dict[str, Any]:
    """A right configuration, with `changes` on top."""
    return {
        "models": [
            {"id": "alpha", "task": "chat", "engine": "vllm", "source": "./alpha"},
            {"id": "beta", "task": "chat", "engine": "vllm", "source": "./beta"},
        ],
        "keys": [
            {"id": public_id(LOCAL_KEY), "sha256": hash_key(LOCAL_KEY)},
            {"id": public_id(SCOPED_KEY), "sha256": hash_key(SCOPED_KEY), "pipelines": ["beta"]},
        ],
    } | changes


PROFILE = Profile(
    engine="vllm",
    capabilities=frozenset({"chat", "tools"}),
    lacks={"reasoning_effort": "the model's template does not read it"},
    limits={"context_length": 2048, "vocabulary_size": 384, "max_logprobs": 20},
)


class StandInAnswer:
    """An answer made of given items of the replica protocol."""

    def __init__(self, items: list[ResponseItem | Exception]) -> None:
        assert isinstance(items[0], ResponseHead)
        self.head = items[0]
        self.slows_down = True
        self.tail: ResponseTail | None = None
        self.closed = False
        self.buffer_bytes = Limits().stream_buffer_bytes
        self._items = items[1:]
        self._ending = Ending()
        if self.head.body is not None:
            self._ending.comes()

    def reading(self, give_up: Callable[[], None]) -> AbstractAsyncContextManager[Pieces]:
        return filled(self._ended(), self.buffer_bytes, None if self.slows_down else give_up)

    def when_ended(self, callback: Callable[[], None]) -> None:
        self._ending.call(callback)

    async def _ended(self) -> AsyncGenerator[bytes]:
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                yield piece
        self._ending.comes()

    async def pieces(self) -> AsyncGenerator[bytes]:
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, ResponseTail):
                self.tail = item
            elif isinstance(item, bytes):
                yield item

    def close(self) -> None:
        self.closed = True
        self._ending.comes()


class StandInRelay:
    """Answers every request with `items`, and remembers what it was sent."""

    def __init__(self) -> None:
        self.items: list[ResponseItem | Exception] = [ResponseHead(200, body=b"{}", usage={"prompt_tokens": 1})]
        self.sent: list[tuple[str, RequestHead, bytes]] = []
        self.answers: list[StandInAnswer] = []

    async def send(
        self, model_id: str, request: RequestHead, body: bytes, timeout_s: float, waited_s: float = 0.0
    ) -> StandInAnswer:
        self.sent.append((model_id, request, body))
        if isinstance(self.items[0], ApiError):
            raise self.items[0]
        self.answers.append(StandInAnswer(self.items))
        return self.answers[-1]


def queues_of(config: Config) -> ModelQueues:
    queues = ModelQueues(lambda _, __: None, lambda _: None, "gateway")
    queues.follow(config)
    return queues


class NoMetrics:
    """Metrics need Ray."""

    def record(self, request: RequestRecord) -> None:
        pass


@pytest.fixture(autouse=True)
def _vllm_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import takes ten seconds; tests/engines asks it about arguments."""
    monkeypatch.setattr(vllm_arguments, "faults", lambda arguments: [[] for _ in arguments])


@pytest.fixture
def relay() -> StandInRelay:
    return StandInRelay()


@pytest.fixture
def registry() -> Registry:
    registry = Registry(parse_config(config_args()).models)
    for model_id in ("alpha", "beta"):
        registry.learn(model_id, PROFILE)
    registry.update(dict.fromkeys(("alpha", "beta"), Readiness.VERIFIED))
    return registry


@pytest.fixture
def log_lines() -> list[bytes]:
    """What the gateway has written to the access log."""
    return []


@pytest.fixture
def make_gateway(
    relay: StandInRelay, registry: Registry, log_lines: list[bytes], tmp_path: Path
) -> Callable[..., Gateway]:
    async def no_page(_: str | None) -> bytes:
        return b"# nothing\n"

    async def acceptance(model_id: str) -> Acceptance:
        return Acceptance(drafts=10, draft_tokens=40, accepted_tokens=30)

    def make(
        config: Config | None = None,
        endpoints: Sequence[Endpoint] = ENDPOINTS,
        metrics: Metrics | None = None,
        metrics_page: Callable[[str | None], Awaitable[bytes]] = no_page,
        http_host: str | None = "127.0.0.1",
        bodies: BodiesInFlight | None = None,
        tracer: Tracer | None = None,
        tokens: TokenVerifier | None = None,
        budgets: Budgets | None = None,
        book: UseBook | None = None,
        now: Callable[[], float] = time.time,
        ledger: UsageLedger | None = None,
    ) -> Gateway:
        config = config or parse_config(config_args())
        budgets = budgets or ExactBudgets()
        return Gateway(
            config,
            KeyRing(config.keys),
            tokens or TokenVerifier(config.token_issuers),
            FairRelay(relay, queues_of(config)),
            registry,
            bodies=bodies or BodiesInFlight(),
            streams=OpenStreams(),
            budgets=budgets,
            teams=Teams(config.teams, budgets, book or UseBook(), now),
            estimator=Estimator(),
            image_store=ImageStore(KeptImages(location=str(tmp_path))),
            metrics=metrics or NoMetrics(),
            metrics_page=metrics_page,
            http_host=http_host,
            acceptance=acceptance,
            log_line=log_lines.append,
            tracer=tracer,
            ledger=ledger,
            endpoints=endpoints,
        )

    return make


@pytest.fixture
async def client(make_gateway: Callable[..., Gateway]) -> AsyncGenerator[httpx.AsyncClient]:
    """A client with the key that may use every model."""
    async with client_of(make_gateway()) as client:
        yield client


def client_of(gateway: Any, key: str | None = LOCAL_KEY) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(gateway), base_url="http://gateway", headers=headers)


def chat(**changes: Any) -> dict[str, Any]:
    """A right chat request, with `changes` on top."""
    return {"model": "alpha", "messages": [{"role": "user", "content": "hi"}]} | changes


def assert_error(response: httpx.Response, status: int, kind: str, code: str, param: str | None = None) -> None:
    """The response is an error in the contract's envelope, with a request id."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert (response.status_code, error["type"], error["code"], error["param"]) == (status, kind, code, param)
    assert response.headers["content-type"] == "application/json"
    assert len(response.headers["x-request-id"]) == 36
    assert ("retry-after" in response.headers) == (status in (429, 503))
