"""Budgets over three ingress replicas and two budget stores on real Ray: keys get what one exact bucket would give.

Whoever dies.
"""

import asyncio
import time
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

import httpx
import pytest

from app.budgets.bucket import Bucket, burst_of
from tests.faults.conftest import EXACT, LIMITS, SPENT, STEADY, WARM_UP, Gateways, key

BODY = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class Outcome:
    """What became of one key's requests."""

    admitted: list[tuple[float, float]] = field(default_factory=list)  # when it was sent, when it was answered
    refused: list[tuple[float, float]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def all(self) -> list[tuple[float, float]]:
        return self.admitted + self.refused


async def load(url: str, secret: str, rate: float, seconds: float) -> Outcome:
    """Send one key's requests at `rate` a second, whether or not they are answered in time."""
    outcome = Outcome()
    headers = {"authorization": f"Bearer {secret}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, limits=limits) as client:

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


async def load_all(gateways: Gateways, group: int, share: float, seconds: float) -> list[Outcome]:
    """All keys of a set at once, each at `share` of its limit."""
    loads = (load(gateways.url, key(group, n), share * limit / 60, seconds) for n, limit in enumerate(LIMITS))
    return list(await asyncio.gather(*loads))


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
    await load_all(gateways, WARM_UP, share=1, seconds=3)  # first requests open connections
    outcomes = await load_all(gateways, EXACT, share=1.5, seconds=18)
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
    before = {one.pid for one in await gateways.stores()}
    loads = asyncio.gather(
        load_all(gateways, STEADY, share=0.5, seconds=14), load_all(gateways, SPENT, 1.5, seconds=14)
    )
    for _ in range(2):
        await asyncio.sleep(4)
        for store in await gateways.stores():
            store.kill()
    outcomes = await loads
    assert before.isdisjoint(one.pid for one in await gateways.stores())
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
