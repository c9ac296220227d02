"""What a call of a Ray actor costs, and a message in it: for benchmarks/budget_scale.py, which writes the table.

One caller keeps CALLERS calls under way to one actor, on a Ray of its own. CPU is the whole process's, all threads.
"""

import asyncio
import os
import tempfile
from typing import Any

import psutil
import ray

from app.budgets.account import BudgetLimits
from app.budgets.actor import MAX_CALLS, BudgetStoreActor
from app.budgets.messages import AdmissionRequest, Join, Slots

LIMITS = BudgetLimits(600_000_000, 600_000_000)
CALLERS = 50
MESSAGES = 40_000  # in all, but at most MOST_CALLS calls
MOST_CALLS = 4000


class Trivial:
    """Answers what it is sent."""

    async def deliver(self, messages: list[Any]) -> list[Any]:
        return messages

    async def pid(self) -> int:
        return os.getpid()


class Store(BudgetStoreActor):
    async def pid(self) -> int:
        return os.getpid()


async def measure() -> list[dict[str, Any]]:
    """A row for each actor and number of messages in a call."""
    ray.init(include_dashboard=False, logging_level="error", log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for name, kind, args in (("trivial", Trivial, ()), ("store", Store, (f"{folder}/budgets.json",))):
            actor = ray.remote(kind).options(num_cpus=0, max_concurrency=MAX_CALLS).remote(*args)
            if name == "store":
                await actor.deliver.remote([Join("benchmark", 1, 3, False, Slots({}, frozenset()), [], {})])
            rows += [await _measure(name, actor, messages) for messages in (1, 10, 100)]
        ray.shutdown()
    return rows


async def _measure(name: str, actor: Any, messages: int) -> dict[str, Any]:
    processes = psutil.Process(await actor.pid.remote()), psutil.Process()
    batch = [AdmissionRequest("benchmark", 2, f"key{n:09d}", LIMITS, True, 100, None) for n in range(messages)]
    calls = min(MOST_CALLS, MESSAGES // messages)
    await _call(actor, batch, 200)
    before, began = [_cpu(one) for one in processes], asyncio.get_running_loop().time()
    await _call(actor, batch, calls)
    seconds = asyncio.get_running_loop().time() - began
    used = [(_cpu(one) - cpu) / calls * 1e6 for one, cpu in zip(processes, before, strict=True)]
    return {
        "actor": name,
        "messages": messages,
        "calls_per_s": round(calls / seconds),
        "actor_us": round(used[0]),
        "caller_us": round(used[1]),
    }


async def _call(actor: Any, batch: list[AdmissionRequest], calls: int) -> None:
    left = iter(range(calls))

    async def call() -> None:
        for _ in left:
            await actor.deliver.remote(batch)

    await asyncio.gather(*(call() for _ in range(CALLERS)))


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
