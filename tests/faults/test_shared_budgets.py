"""Budgets over three ingress replicas on real Ray: what keys get is what one exact bucket would give, whoever dies."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from app.budgets.bucket import Bucket, burst_of
from app.keys import hash_key
from contract.project import PROJECT_FOLDER
from tests.conftest import free_port, wait_ready

LIMITS = (12, 20, 30, 30, 40, 60, 60, 90, 120, 300)  # requests a minute, of ten keys
WARM_UP, EXACT, STEADY, SPENT = range(4)  # sets of such keys: each begins with its whole burst
BODY = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}]}
START_SECONDS = 120
# A starved machine answers late; Serve would take its own proxy for dead, and cut every connection.
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "120"}
STORE = "ray::BudgetStoreActor"


def key_id(group: int, number: int) -> str:
    return f"key{group:03d}{number:06d}"


def key(group: int, number: int) -> str:
    return f"sk-portico-{key_id(group, number)}-{'k' * 43}"


CONFIG = {
    "models": [{"id": "alpha", "task": "chat", "engine": "vllm", "source": "./alpha"}],
    "keys": [
        {"id": key_id(group, number), "sha256": hash_key(key(group, number)), "budget": {"requests_per_minute": limit}}
        for group in (WARM_UP, EXACT, STEADY, SPENT)
        for number, limit in enumerate(LIMITS)
    ],
    "ingress": {"replicas": 3, "max_ongoing_requests": 500},
}


@dataclass
class Outcome:
    """What became of one key's requests."""

    admitted: list[tuple[float, float]] = field(default_factory=list)  # when it was sent, when it was answered
    refused: list[tuple[float, float]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def all(self) -> list[tuple[float, float]]:
        return self.admitted + self.refused


@dataclass
class Gateways:
    """Three ingress replicas under way."""

    url: str
    process: psutil.Process

    def store(self) -> psutil.Process:
        found = [p for p in self.process.children(recursive=True) if " ".join(p.cmdline()).startswith(STORE)]
        assert len(found) == 1
        return found[0]

    async def load(self, secret: str, rate: float, seconds: float) -> Outcome:
        """Send one key's requests at `rate` a second, whether or not they are answered in time."""
        outcome = Outcome()
        headers = {"authorization": f"Bearer {secret}"}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, limits=limits) as client:

            async def send() -> None:
                sent = time.monotonic()
                response = await client.post("/v1/chat/completions", json=BODY)
                if response.status_code == 200:
                    outcome.admitted.append((sent, time.monotonic()))
                elif response.status_code == 429 and int(response.headers["retry-after"]) >= 1:
                    outcome.refused.append((sent, time.monotonic()))
                else:
                    outcome.others.append(f"{response.status_code} {response.text}")

            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for turn in range(int(rate * seconds)):
                    await asyncio.sleep(max(0.0, began + turn / rate - time.monotonic()))
                    group.create_task(send())
        return outcome

    async def load_all(self, group: int, share: float, seconds: float) -> list[Outcome]:
        """All keys of a set at once, each at `share` of its limit."""
        loads = (self.load(key(group, number), share * limit / 60, seconds) for number, limit in enumerate(LIMITS))
        return list(await asyncio.gather(*loads))


@pytest.fixture(scope="module")
def gateways() -> Iterator[Gateways]:
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="portico-"))
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "tests.faults.three_gateways", str(port), json.dumps(CONFIG)]
        process = psutil.Popen(
            command, cwd=PROJECT_FOLDER, env=environment | SETTINGS | {"RAY_TMPDIR": str(folder)}, stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_ready(port, process, folder / "log", START_SECONDS)
        yield Gateways(f"http://127.0.0.1:{port}", process)
    finally:
        for started in [*process.children(recursive=True), process]:
            started.kill()
        shutil.rmtree(folder, ignore_errors=True)


def exact(limit: int, moments: list[float]) -> int:
    """How many of the requests at `moments` (seconds) one exact bucket admits."""
    moments = sorted(moments)
    bucket = Bucket(limit, int(moments[0] * 1e9))
    return sum(bucket.take(1, int(moment * 1e9)) for moment in moments)


def assert_bounded(outcome: Outcome, limit: int) -> None:
    """No window held more than the burst, what was gained in it, and 1 % of the limit."""
    sent = sorted(one for one, _ in outcome.admitted)
    answered = sorted(one for _, one in outcome.admitted)
    for start in sent:
        for end in answered[bisect_left(answered, start) :]:
            # Admitted somewhere between sent and answered: surely inside, where both are.
            inside = bisect_right(answered, end) - bisect_left(sent, start)
            assert inside <= burst_of(limit) + limit * (end - start) / 60 + limit / 100 + 1e-6


async def test_each_key_gets_what_one_exact_bucket_would_give(gateways: Gateways) -> None:
    await gateways.load_all(WARM_UP, share=1, seconds=3)  # first requests open connections
    outcomes = await gateways.load_all(EXACT, share=1.5, seconds=30)
    for limit, outcome in zip(LIMITS, outcomes, strict=True):
        assert outcome.others == []
        # Each request was decided somewhere between the two moments.
        as_sent, as_answered = (exact(limit, [one[moment] for one in outcome.all()]) for moment in (0, 1))
        fewest, most = sorted((as_sent, as_answered))
        assert fewest * 0.99 - 1 <= len(outcome.admitted) <= most * 1.01 + 1, limit
        assert outcome.refused
        assert_bounded(outcome, limit)


@pytest.fixture(scope="module")
async def while_the_store_dies(gateways: Gateways) -> dict[int, list[Outcome]]:
    """What became of keys that stay under their limits and of keys that do not, while the store was killed twice."""
    before = gateways.store()
    loads = asyncio.gather(gateways.load_all(STEADY, share=0.5, seconds=20), gateways.load_all(SPENT, 1.5, seconds=20))
    for _ in range(2):
        await asyncio.sleep(6)
        gateways.store().kill()
    outcomes = await loads
    assert gateways.store().pid != before.pid
    return dict(zip((STEADY, SPENT), outcomes, strict=True))


async def test_no_request_fails_because_the_store_dies(while_the_store_dies: dict[int, list[Outcome]]) -> None:
    """Keys that stay under their limits are never refused."""
    for limit, outcome in zip(LIMITS, while_the_store_dies[STEADY], strict=True):
        assert outcome.others == []
        assert outcome.refused == [], limit
        assert_bounded(outcome, limit)


async def test_a_spent_key_gets_no_more_because_the_store_dies(while_the_store_dies: dict[int, list[Outcome]]) -> None:
    for limit, outcome in zip(LIMITS, while_the_store_dies[SPENT], strict=True):
        assert outcome.others == []
        assert_bounded(outcome, limit)
