"""Three ingress replicas before stand-in models, for the tests that need no engine: see three_gateways.py."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.config.usage import UsageSettings
from app.keys import hash_key
from contract.project import PROJECT_FOLDER
from tests.conftest import wait_ready
from tests.own_ports import free_port
from tests.usage_rows import running_server

LIMITS = (12, 20, 30, 30, 40, 60, 60, 90, 120, 300)  # requests a minute, of ten keys
WARM_UP, EXACT, STEADY, SPENT = range(4)  # sets of such keys: each begins with its whole burst
FLOOD, QUIET = 4, 5  # of each one key, which may send what it wants
RATED, MONTHLY = 6, 7  # of each two keys, of teams that have a budget
TEAM_LIMIT, TEAM_TOKENS = 120, 300  # requests a minute of the one, tokens a month of the other
GATEWAYS = 3
SLOW_PLACES, SLOW_QUEUE = 6, 34  # of the model `slow`: in its replica, and in each of the three gateways
STORE, STORES = "ray::BudgetStoreActor", 2
LEDGER, REPLICA = "ray::UsageLedgerActor", "ray::ServeReplica:default:gateway"
START_SECONDS = 120
STORE_SECONDS = 90  # on a starved machine
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "app.edge:middlewares",
    # A starved machine answers late; Serve would take its own proxy for dead, and cut every connection.
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "120",
}


def key_id(group: int, number: int = 0) -> str:
    return f"key{group:03d}{number:06d}"


def key(group: int, number: int = 0) -> str:
    return f"sk-portico-{key_id(group, number)}-{'k' * 43}"


def _entry(group: int, number: int, limit: int) -> dict[str, Any]:
    secret = key(group, number)
    return {"id": key_id(group, number), "sha256": hash_key(secret), "budget": {"requests_per_minute": limit}}


def _model(model_id: str, **scaling: Any) -> dict[str, Any]:
    return {"id": model_id, "task": "chat", "engine": "vllm", "source": f"./{model_id}", "scaling": scaling}


def _takes(places: int) -> dict[str, int]:
    """What a replica takes, and is meant to."""
    return {"max_ongoing_requests": places, "target_ongoing_requests": places}


CONFIG = {
    "models": [
        _model("alpha"),
        _model("slow", max_queued_requests=SLOW_QUEUE, **_takes(SLOW_PLACES)),
        _model("grows", max_replicas=2, upscale_delay_s=0, look_back_s=2, **_takes(GATEWAYS)),
    ],
    "keys": [
        *(_entry(group, number, limit) for group in range(FLOOD) for number, limit in enumerate(LIMITS)),
        *(_entry(group, 0, 10**6) for group in (FLOOD, QUIET)),
        *(_entry(RATED, number, 10**6) | {"team": "rated"} for number in range(2)),
        *(_entry(MONTHLY, number, 10**6) | {"team": "monthly"} for number in range(2)),
    ],
    "teams": [
        {"id": "rated", "budget": {"requests_per_minute": TEAM_LIMIT}},
        {"id": "monthly", "monthly": {"tokens": {"soft": TEAM_TOKENS // 2, "hard": TEAM_TOKENS}}},
    ],
    "limits": {"write_stall_timeout_s": 3, "stream_buffer_bytes": 2**20},
    "ingress": {"replicas": GATEWAYS, "max_ongoing_requests": 500},
}


@dataclass
class Gateways:
    """Three ingress replicas under way."""

    port: int
    process: psutil.Process
    usage: UsageSettings

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def stores(self) -> list[psutil.Process]:
        """The processes of the budget stores; one that was killed comes back by itself."""
        return await self._actors(STORE, STORES)

    async def ledger(self) -> psutil.Process:
        """The process of the usage ledger, which comes back too."""
        return (await self._actors(LEDGER, 1))[0]

    async def replicas(self) -> list[psutil.Process]:
        """The processes of the gateways."""
        return await self._actors(REPLICA, GATEWAYS)

    async def _actors(self, command: str, number: int) -> list[psutil.Process]:
        async with asyncio.timeout(STORE_SECONDS):
            while True:
                found = [p for p in self.process.children(recursive=True) if _command_of(p).startswith(command)]
                if len(found) == number:
                    return found
                await asyncio.sleep(0.2)


def _command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""


@pytest.fixture(scope="package", params=["SQLite", pytest.param("PostgreSQL", marks=pytest.mark.long)])
def gateways(request: pytest.FixtureRequest) -> Iterator[Gateways]:
    """With a usage ledger in each kind of database: all of them are on one node, so that a file will do."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-", ignore_cleanup_errors=True)))
        database = f"sqlite:///{folder}/usage.db"
        if request.param == "PostgreSQL":
            database = stack.enter_context(running_server()).new_database()
        yield stack.enter_context(three_gateways(folder, UsageSettings(database=database)))


@contextmanager
def three_gateways(folder: Path, usage: UsageSettings) -> Iterator[Gateways]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with (folder / "log").open("wb") as log:
        changes = {"budgets": {"shards": STORES, "snapshot": str(folder / "budgets.json")}}
        changes["usage"] = usage.model_dump(exclude_unset=True)
        command = [sys.executable, "-m", "tests.faults.three_gateways", str(port), json.dumps(CONFIG | changes)]
        process = psutil.Popen(
            command, cwd=PROJECT_FOLDER, env=environment | SETTINGS | {"RAY_TMPDIR": str(folder)}, stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_ready(port, process, folder / "log", START_SECONDS)
        yield Gateways(port, process, usage)
    finally:
        with suppress(psutil.NoSuchProcess):  # it has ended by itself, and the test says why
            for started in [*process.children(recursive=True), process]:
                started.kill()
