"""The console over models in every state, without Ray: what no service of the tests has all at once."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import uvicorn

from app.admin.application import Sources as AdminSources
from app.admin.key_changes import KeyChanges
from app.admin.teams import team_cards
from app.admin.usage import usage_page
from app.budgets.exact import ExactBudgets
from app.budgets.use import Use
from app.config.model_entry import ModelEntry
from app.config.service import Config, parse_config
from app.console.files import read_files
from app.console.sources import Sources
from app.gateway.application import limits_of
from app.gateway.quotas import quotas_of
from app.http.fastapi_answers import ASGI
from app.keys import LOCAL_KEY, KeyEntry, KeyRing, hash_key, public_id
from app.serving.front import fronted
from app.telemetry.acceptance import Acceptance
from app.telemetry.loads import KeyUsage, ModelLoad
from app.telemetry.metrics import QuotaFigures
from app.telemetry.record import RequestRecord
from app.upstream.registry import Readiness, Registry
from app.upstream.start import Stage, Start
from app.usage.ledger import UsageLedger
from contract.errors import nothing_here
from contract.profile import Profile
from tests.own_ports import free_port

SCOPED_KEY = "sk-portico-scoped000000-" + "s" * 43
ERROR = "ValueError: the checkpoint has 30 layers and the configuration says 32"
STATES = {
    "ready-chat": Readiness.VERIFIED,
    "asleep-chat": Readiness.VERIFIED,
    "starting-chat": Readiness.STARTING,
    "queued-chat": Readiness.STARTING,
    "failed-chat": Readiness.FAILED,
}
PROFILE = Profile(
    engine="vllm",
    capabilities=frozenset({"chat", "tools"}),
    lacks={"reasoning_effort": "the model's template does not read it"},
    limits={"context_length": 32768},
    speculation={"method": "ngram", "num_speculative_tokens": 4},
)
# A ready model of each task, and what it can do beside it. `front(able=True)` has these.
ABLE: dict[str, tuple[str, str, frozenset[str]]] = {
    "able-chat": ("chat", "vllm", frozenset({"completions", "fill_in_the_middle", "tokenize", "vision"})),
    "able-reranker": ("rerank", "sentence-transformers", frozenset()),
    "able-painter": ("images", "diffusers", frozenset({"edits", "masks", "variations"})),
    "plain-painter": ("images", "diffusers", frozenset()),
    "able-listener": ("transcriptions", "faster-whisper", frozenset({"translations"})),
}


def config(*, able: bool = False, **changes: Any) -> Config:
    models = [{"id": name, "task": "chat", "engine": "vllm", "source": f"./{name}"} for name in STATES]
    if able:
        models = [
            {"id": name, "task": task, "engine": engine, "source": f"./{name}"}
            for name, (task, engine, _) in ABLE.items()
        ] + models
    next(one for one in models if one["id"] == "asleep-chat")["mode"] = "flex"
    keys = [
        {"id": public_id(LOCAL_KEY), "sha256": hash_key(LOCAL_KEY), "name": "local"},
        {
            "id": public_id(SCOPED_KEY), "sha256": hash_key(SCOPED_KEY), "pipelines": ["failed-chat"],
            "budget": {"requests_per_minute": 60, "tokens_per_minute": 10_000, "concurrent_requests": 4},
            "expires": "2100-01-01T00:00:00Z",
        },
    ]  # fmt: skip
    return parse_config({"models": models, "keys": keys} | changes)


def registry_of(entries: list[ModelEntry]) -> Registry:
    registry = Registry(entries)
    for name in ("ready-chat", "asleep-chat"):
        registry.learn(name, PROFILE)
    ready = [entry.id for entry in entries if entry.id in ABLE]
    for name in ready:
        task, engine, abilities = ABLE[name]
        registry.learn(name, replace(PROFILE, engine=engine, capabilities=abilities | {task}, speculation=None))
    states = STATES | dict.fromkeys(ready, Readiness.VERIFIED)
    registry.update(states, dict.fromkeys(["ready-chat", *ready], 1), {"failed-chat": ERROR})
    return registry


class Telemetry:
    """What another process would report; a failure of it where `fails`."""

    def __init__(self) -> None:
        self.fails = self.hangs = False
        self.looks = 0

    async def starts(self) -> dict[str, Start]:
        now = time.time()
        return await self._known(
            {"starting-chat": Start(Stage.LOADING, now - 42), "queued-chat": Start(Stage.QUEUED, now - 130)}
        )

    async def acceptance(self) -> dict[str, Acceptance]:
        return await self._known({"ready-chat": Acceptance(drafts=100, draft_tokens=400, accepted_tokens=290)})

    async def loads(self) -> dict[str, ModelLoad]:
        self.looks += 1
        return await self._known({"ready-chat": ModelLoad(self.looks % 3, 10 * self.looks, 0, 300 * self.looks**2)})

    async def usage(self, _: str) -> KeyUsage:
        return await self._known(KeyUsage(1234, 56_789, 98_765, 3))

    async def _known(self, found: Any) -> Any:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise TimeoutError("no answer")
        return found


def sources_of(config: Config, telemetry: Telemetry) -> tuple[Sources, KeyRing]:
    ring, budgets = KeyRing(config.keys, config.key_path()), ExactBudgets()

    async def authenticate(authorization: str | None, _: str | None) -> KeyEntry:
        return ring.authenticate(authorization)

    sources = Sources(
        authenticate=authenticate,
        budget_status=lambda key: budgets.budget_status(key.id, limits_of(key)),
        registry=registry_of(config.models),
        routes=config.routes.offered(),
        admin=config.admin.enabled,
        starts=telemetry.starts,
        acceptance=telemetry.acceptance,
        loads=telemetry.loads,
        usage=telemetry.usage,
    )
    return sources, ring


def figures_of(config: Config) -> Iterator[QuotaFigures]:
    """As if every team had used 1234 tokens, and nothing that costs."""
    for team in config.teams:
        yield from (quota.figures(team.id, Use(1234)) for quota in quotas_of(team))


async def no_gateway(_: Any, __: Any, send: Any) -> None:
    """Answers as the gateway does at paths that are no routes."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": nothing_here().body()})


def front(
    telemetry: Telemetry | None = None,
    gateway: ASGI = no_gateway,
    authenticate: Any = None,
    ledger: UsageLedger | None = None,
    keep: Callable[[RequestRecord], None] | None = None,
    **changes: Any,
) -> ASGI:
    """The console of `config(**changes)` before `gateway`. `authenticate` is another than that of its keys."""
    wanted = config(**changes)
    files = read_files() if wanted.console.enabled else None
    sources, ring = sources_of(wanted, telemetry or Telemetry())
    if authenticate is not None:
        sources = replace(sources, authenticate=authenticate)
    admin = AdminSources(
        sources.authenticate, sources.budget_status, KeyChanges(wanted, ring),
        lambda: sources.model_cards(sources.registry.asked_for()),
        lambda: team_cards(wanted.teams, figures_of(wanted), ring.entries()), partial(usage_page, ledger),
        keep or (lambda _: None),
    )  # fmt: skip
    return fronted(gateway, sources, files, admin, wanted)


@contextmanager
def served(application: ASGI) -> Iterator[str]:
    """`application` on a port of this machine, and its address."""
    server = uvicorn.Server(
        uvicorn.Config(application, port=(port := free_port()), log_level="error", lifespan="off", interface="asgi3")
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:  # else a test that fails would keep its process alive
        server.should_exit = True
        thread.join()
