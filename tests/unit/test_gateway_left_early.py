"""What is counted of requests whose clients leave before the engine has said what they used: they are not free."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import pytest

from app.budgets.use import Use
from app.budgets.use_book import UseBook
from app.config.service import Config, parse_config
from app.gateway.application import Gateway
from app.keys import LOCAL_KEY
from app.upstream.registry import Readiness, Registry
from app.usage.ledger import UsageLedger
from app.usage.row import UsageRow
from contract.protocol import ResponseHead
from tests.unit.conftest import PROFILE, StandInAnswer, StandInRelay, chat, config_args
from tests.unit.test_gateway_images import GENERATOR

TEAM = {"id": "team", "monthly": {"tokens": {"hard": 1_000_000}, "cost": {"hard": 1000}}}
PRICES = {"image": 1, "million_input_tokens": 1_000_000, "million_output_tokens": 1_000_000}


class Rows:
    """A sender that keeps what it is to send."""

    def __init__(self) -> None:
        self.rows: list[UsageRow] = []

    def add(self, row: UsageRow) -> None:
        self.rows.append(row)


@pytest.fixture
def config() -> Config:
    args = config_args(teams=[TEAM], budgets={"snapshot": "/nowhere/budgets.json"})
    args["models"] = [one | {"prices": PRICES} for one in args["models"]]
    args["keys"] = [one | {"team": "team"} for one in args["keys"]]
    return parse_config(args)


@pytest.fixture
def registry(config: Config) -> Registry:
    """Of the models with their prices."""
    registry = Registry(config.models)
    registry.learn("alpha", GENERATOR)
    registry.update(dict.fromkeys(config.model_ids(), Readiness.VERIFIED))
    return registry


@pytest.fixture
def book() -> UseBook:
    return UseBook()


@pytest.fixture
def sender() -> Rows:
    return Rows()


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway], config: Config, book: UseBook, sender: Rows) -> Gateway:
    return make_gateway(config, book=book, ledger=UsageLedger(sender, config))  # type: ignore[arg-type]


async def send_and_leave(gateway: Gateway, path: str, body: dict[str, Any], pieces: int) -> None:
    """Send a request, and be gone once so many pieces of its answer are here."""
    received, enough = [], asyncio.Event()
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:
        return messages.pop() if messages else await asyncio.Event().wait()

    async def send(message: dict[str, Any]) -> None:
        received.append(message)
        if sum(bool(one.get("body")) for one in received) >= pieces > 0:
            enough.set()

    headers = [(b"authorization", f"Bearer {LOCAL_KEY}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "client": ("127.0.0.1", 1)}
    request = asyncio.create_task(gateway(scope, receive, send))
    with suppress(TimeoutError):
        async with asyncio.timeout(5 if pieces else 0.2):
            await enough.wait()
    request.cancel()
    with suppress(asyncio.CancelledError):
        await request


async def test_an_image_whose_stream_is_left_counts_as_one(
    gateway: Gateway, relay: StandInRelay, book: UseBook, sender: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.items = [ResponseHead(200, content_type="text/event-stream"), b"event: x\ndata: {}\n\n"]
    whole = StandInAnswer.pieces

    async def pieces(answer: StandInAnswer) -> AsyncGenerator[bytes]:
        async for piece in whole(answer):
            yield piece
            await asyncio.Event().wait()

    monkeypatch.setattr(StandInAnswer, "pieces", pieces)
    body = {"model": "alpha", "prompt": "a fox", "stream": True, "partial_images": 3, "size": "512x512"}
    await send_and_leave(gateway, "/v1/images/generations", body, pieces=1)
    (row,) = sender.rows
    assert (row.images, row.is_estimate) == (1, True)
    assert row.output_tokens > 0
    assert row.cost_millionths >= 1_000_000
    assert used(book) == Use(row.input_tokens + row.output_tokens, row.cost_millionths)


async def test_a_prompt_whose_answer_is_not_waited_for_counts(
    gateway: Gateway,
    registry: Registry,
    relay: StandInRelay,
    book: UseBook,
    sender: Rows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.learn("alpha", PROFILE)

    async def send(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(relay, "send", send)
    body = chat(messages=[{"role": "user", "content": "A fox and a dog walk through the woods. " * 10}])
    await send_and_leave(gateway, "/v1/chat/completions", body, pieces=0)
    (row,) = sender.rows
    assert row.input_tokens > 20
    assert (row.output_tokens, row.is_estimate) == (0, True)
    assert used(book).tokens == row.input_tokens


async def test_a_request_that_the_engine_never_had_is_free(
    gateway: Gateway, relay: StandInRelay, book: UseBook, sender: Rows
) -> None:
    body = {"model": "alpha", "prompt": ""}
    await send_and_leave(gateway, "/v1/images/generations", body, pieces=1)
    assert all(row.cost_millionths == 0 for row in sender.rows)
    assert used(book) == Use()


def used(book: UseBook) -> Use:
    (months,) = [months for account, months in book._own.items() if account == "team:team"] or [{}]
    return next(iter(months.values()), Use())
