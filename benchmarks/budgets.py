"""What a decision on a budget costs: leased, exact in process, decided by the actor; and throttled-py's beside them.

    python benchmarks/budgets.py

Writes benchmarks/budgets.csv. One caller, one key, decisions one after the other, each admitted and settled; the limit
is never reached. throttled-py (pip install throttled-py) and a Redis on loopback are measured where they are.
"""

import asyncio
import csv
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import ray

from app.budgets.account import BudgetLimits
from app.budgets.actor import ActorLink
from app.budgets.admission import Budgets
from app.budgets.exact import ExactBudgets
from app.budgets.leased import LeasedBudgets
from app.budgets.messages import AdmissionRequest, Join, Slots

CSV = Path(__file__).with_suffix(".csv")
PER_MINUTE = 600_000_000
LIMITS = BudgetLimits(PER_MINUTE)
KEY = "benchmark000"
BATCH = 100  # decisions between two looks at the clock

Decide = Callable[[], Awaitable[object]]


def deciding(budgets: Budgets) -> Decide:
    async def decide() -> None:
        async with budgets.admit(KEY, LIMITS, 0) as admission:
            admission.settle(None)

    return decide


def deciding_remotely(link: ActorLink) -> Decide:
    """Every decision is the actor's: no lease is wanted."""

    async def decide() -> None:
        reply = await link.admit(AdmissionRequest("benchmark", 2, KEY, LIMITS, True, 0, None))
        if not reply.known or reply.refusal:
            raise RuntimeError(f"the actor refused: {reply}")

    return decide


def throttled(store: str) -> Decide | None:
    try:
        from throttled.asyncio import MemoryStore, RedisStore, Throttled, per_min  # noqa: PLC0415 - not a dependency
    except ImportError:
        return None
    where = MemoryStore() if store == "memory" else RedisStore(server="redis://127.0.0.1:6379/0")
    limiter = Throttled(using="gcra", quota=per_min(PER_MINUTE, burst=PER_MINUTE // 10), store=where)

    async def decide() -> None:
        result = await limiter.limit(KEY)
        if result.limited:
            raise RuntimeError("throttled-py refused")

    return decide


async def measure(name: str, decide: Decide, batches: int) -> dict[str, object]:
    """Microseconds of one decision: of the median batch, and of the slowest in a hundred."""
    await decide()
    times = []
    for _ in range(batches):
        began = time.perf_counter()
        for _ in range(BATCH):
            await decide()
        times.append((time.perf_counter() - began) / BATCH * 1e6)
    times.sort()
    return {
        "decision": name,
        "decisions": batches * BATCH,
        "median_us": round(times[len(times) // 2], 2),
        "p99_us": round(times[int(len(times) * 0.99)], 2),
    }


async def main() -> None:
    ray.init(include_dashboard=False, logging_level="error", log_to_driver=False)
    link = ActorLink(None)
    leased = LeasedBudgets(link, replicas=3)
    await link.join(Join("benchmark", 1, 3, False, Slots({}, frozenset()), [], {}))
    rows = [
        await measure("leased", deciding(leased), 1000),
        await measure("exact, in process", deciding(ExactBudgets()), 1000),
        await measure("by the actor", deciding_remotely(link), 20),
    ]
    for store in ("memory", "redis"):
        decide = throttled(store)
        if decide is None:
            continue
        try:
            rows.append(await measure(f"throttled-py, {store}", decide, 1000 if store == "memory" else 20))
        except Exception as error:
            print(f"throttled-py, {store}: not measured ({type(error).__name__})")
    with CSV.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(row)


if __name__ == "__main__":
    asyncio.run(main())
