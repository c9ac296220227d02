"""How far the budget stores reach, by simulation: python -m benchmarks.budget_scale [--ray]

The real classes (ShardedBudgets, LeasedBudgets, Batches, BudgetStore) run on virtual time; only the network and Ray are
replaced. Writes benchmarks/budget_scale.csv (a row for each number of gateway replicas and keys),
benchmarks/budget_scale_store.csv (one store full of keys, in real time) and benchmarks/budget_scale.png. With --ray it
first measures what a call of a Ray actor costs, in benchmarks/budget_scale_calls.csv, which the simulation reads.

Assumptions:
- Each gateway replica gets REQUESTS_PER_SECOND, as a Poisson process. The keys' shares of it are Zipf's, exponent 1.1.
  A request stays open for HOLD_SECONDS in the mean, reserves RESERVED tokens and uses USED.
- Nine keys of ten send half of what they may, one of ten six times what it may, as does a key that is alone. Limits are
  600 a minute (the default) or more. One key of ten counts concurrent requests too, of which it never has too many.
- A store takes the calls one after the other, each for `call_us` + messages * `message_us` of its core, from the table
  of calls; a message and its reply take TRIP_SECONDS on the way. `messages`: a call for each message, or batches.
- `busy` is of one core, of the store with most calls: calls by the table, messages by the real CPU time of the real
  handlers and of pickling. Beyond 1 its queue only grows. No part of a call is taken to run beside another one.
- `admitted_of_exact`: beside what one account of all would have admitted. Who still waits at the end is not counted as
  admitted, so where a store is overloaded it is too low.
"""

import argparse
import asyncio
import csv
import pickle
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from app.budgets import snapshot
from app.budgets.account import BudgetLimits
from app.budgets.admission import RateLimited
from app.budgets.batches import Batches
from app.budgets.bucket import Bucket, burst_of
from app.budgets.leased import LeasedBudgets
from app.budgets.messages import (
    LEASE_TIME,
    SECOND,
    AdmissionReply,
    AdmissionRequest,
    Amount,
    Join,
    JoinReply,
    Message,
    Reply,
    Report,
    Slots,
)
from app.budgets.shards import ShardedBudgets, shards
from app.budgets.store import BudgetStore
from app.budgets.store_link import StoreUnreachableError
from benchmarks import virtual_time

CSV = Path(__file__).with_suffix(".csv")
STORE_CSV = CSV.with_name("budget_scale_store.csv")
CALLS_CSV = CSV.with_name("budget_scale_calls.csv")
PLOT = CSV.with_suffix(".png")

REPLICAS = (1, 10, 50, 200, 500, 1000)
KEYS = (1, 100, 10_000, 100_000)
TWICE_AT = 10_000  # keys: rows with twice as many stores
REQUESTS_PER_SECOND = 20.0  # streams of 50 chunks that a gateway replica relays with one core
HOLD_SECONDS = 1.0
RESERVED, USED = 600, 300
UNDER, OVER, LEAST_LIMIT = 2.0, 1 / 6, 600  # limits as parts of what keys send
OVER_AT = 3  # of each ten keys, the most used first
ZIPF = 1.1
TRIP_SECONDS = 0.001
CALL_TIMEOUT_SECONDS = 2.0  # as that of the link over Ray
REQUESTS, LEAST_SECONDS, MOST_SECONDS = 12_000, 2.0, 15.0  # of a row


class CallCosts(NamedTuple):
    """Seconds of a store's core."""

    call: float
    message: float

    @classmethod
    def measured(cls) -> "CallCosts":
        with CALLS_CSV.open(newline="") as file:
            found = [row for row in csv.DictReader(file) if row["actor"] == "store"]
        rows = {int(row["messages"]): float(row["actor_us"]) for row in found}
        few, many = min(rows), max(rows)
        message = (rows[many] - rows[few]) / (many - few)
        return cls((rows[few] - few * message) / 1e6, message / 1e6)


class Setting(NamedTuple):
    """One row."""

    replicas: int
    keys: int
    stores: int
    batches: bool
    seconds: float


@dataclass
class SimulatedStore:
    """A BudgetStore on one core of its own. Handlers run for real, and are timed."""

    costs: CallCosts
    free_at: float = 0.0
    calls: int = 0
    messages: int = 0
    handler_ns: int = 0
    wire_ns: int = 0
    store: BudgetStore = field(default_factory=lambda: BudgetStore(0))

    async def deliver(self, messages: Sequence[Message]) -> Sequence[Reply]:
        loop = asyncio.get_running_loop()
        came = loop.time() + TRIP_SECONDS / 2
        self.free_at = max(came, self.free_at) + self.costs.call + self.costs.message * len(messages)
        if self.free_at + TRIP_SECONDS / 2 > loop.time() + CALL_TIMEOUT_SECONDS:
            loop.call_at(self.free_at, self._handle, messages)
            await asyncio.sleep(CALL_TIMEOUT_SECONDS)
            raise StoreUnreachableError
        await asyncio.sleep(self.free_at - loop.time())
        replies = self._handle(messages)
        await asyncio.sleep(TRIP_SECONDS / 2)
        return replies

    def _handle(self, messages: Sequence[Message]) -> list[Reply]:
        now = virtual_ns()
        self.calls += 1
        self.messages += len(messages)
        began = time.thread_time_ns()
        replies = [self.store.handle(message, now) for message in messages]
        handled = time.thread_time_ns()
        if self.calls % 10 == 1:  # a sample
            pickle.loads(pickle.dumps(messages))  # noqa: S301 - our own
            pickle.dumps(replies)
            self.wire_ns += 10 * (time.thread_time_ns() - handled)
        self.handler_ns += handled - began
        return replies

    def busy_seconds(self) -> float:
        return self.calls * self.costs.call + (self.handler_ns + self.wire_ns) / SECOND


class SimulatedLink:
    """A StoreLink to a simulated store, with a call for each message or with batches."""

    def __init__(self, store: SimulatedStore, batches: bool) -> None:
        self._store = store
        self._batches = Batches(store.deliver) if batches else None

    async def _send(self, message: Message) -> Any:
        return await self._batches.send(message) if self._batches else (await self._store.deliver([message]))[0]

    async def join(self, join: Join) -> JoinReply:
        reply: JoinReply = await self._send(join)
        return reply

    async def admit(self, request: AdmissionRequest) -> AdmissionReply:
        reply: AdmissionReply = await self._send(request)
        return reply

    async def report(self, report: Report) -> bool:
        known: bool = await self._send(report)
        return known


class Key:
    """One key: its limits, and what one exact account of it would have done."""

    def __init__(self, number: int, rate: float, over: bool) -> None:
        limit = max(LEAST_LIMIT, round(60 * rate * (OVER if over else UNDER)))
        places = max(10, round(4 * rate * HOLD_SECONDS)) if number % 10 == 5 else None
        self.id = f"key{number:09d}"
        self.over = over
        self.limits = BudgetLimits(limit, limit * 10 * RESERVED, places)
        self.exact = Bucket(limit, 0)
        self.bound = Bucket(limit, 0, burst=burst_of(limit) + limit // 100)
        self.admitted = self.refused = self.exactly = self.beyond = 0


class World:
    """Gateway replicas, keys and stores."""

    def __init__(self, setting: Setting, costs: CallCosts) -> None:
        self._setting = setting
        self._random = random.Random(f"{setting.replicas} {setting.keys}")  # noqa: S311 - the same load each time
        weights = [1 / rank**ZIPF for rank in range(1, setting.keys + 1)]
        rate = setting.replicas * REQUESTS_PER_SECOND / sum(weights)
        self.keys = [
            Key(n, rate * weight, over=n % 10 == OVER_AT or setting.keys == 1) for n, weight in enumerate(weights)
        ]
        self._weights = list(accumulate(weights))
        self.stores = [SimulatedStore(costs) for _ in range(setting.stores)]
        self.waits: list[float] = []
        self.replicas = [self._replica() for _ in range(setting.replicas)]

    def _replica(self) -> ShardedBudgets:
        setting = self._setting
        links = [SimulatedLink(store, setting.batches) for store in self.stores]
        return ShardedBudgets([LeasedBudgets(link, setting.replicas, virtual_ns) for link in links])

    async def run(self) -> None:
        setting = self._setting
        tasks = [asyncio.create_task(self._keep(replica)) for replica in self.replicas]
        await asyncio.sleep(1)
        for store in self.stores:
            store.calls = store.messages = store.handler_ns = store.wire_ns = 0
        rate = setting.replicas * REQUESTS_PER_SECOND
        loop, at = asyncio.get_running_loop(), 1.0
        requests = set()
        while (at := at + self._random.expovariate(rate)) < 1 + setting.seconds:
            await asyncio.sleep(at - loop.time())
            (key,) = self._random.choices(self.keys, cum_weights=self._weights)
            task = asyncio.create_task(self._request(self._random.choice(self.replicas), key))
            requests.add(task)
            task.add_done_callback(requests.discard)
        for task in (*tasks, *requests):
            task.cancel()
        await asyncio.gather(*tasks, *requests, return_exceptions=True)

    async def _keep(self, replica: ShardedBudgets) -> None:
        await asyncio.sleep(self._random.random() * 0.9)
        async with asyncio.TaskGroup() as group:
            for part in replica.parts:
                group.create_task(part.keep())

    async def _request(self, replica: ShardedBudgets, key: Key) -> None:
        came = virtual_ns()
        key.exactly += key.exact.take(1, came)
        try:
            async with replica.admit(key.id, key.limits, RESERVED) as admission:
                now = virtual_ns()
                self.waits.append((now - came) / SECOND)
                key.admitted += 1
                if not key.bound.take(1, now):
                    key.beyond += 1
                    key.bound.give(-1, now)
                await asyncio.sleep(self._random.expovariate(1 / HOLD_SECONDS))
                admission.settle(USED)
        except RateLimited:
            self.waits.append((virtual_ns() - came) / SECOND)
            key.refused += 1


def virtual_ns() -> int:
    return int(asyncio.get_running_loop().time() * SECOND)


def simulate(setting: Setting, costs: CallCosts) -> dict[str, float | int | str]:
    """One row. Only `handler_us`, `wire_us` and `busy` depend on this machine."""
    world = World(setting, costs)
    virtual_time.run(world.run())
    busiest = max(world.stores, key=lambda store: store.calls)
    messages = max(1, sum(store.messages for store in world.stores))
    waits = sorted(world.waits)
    under = [key for key in world.keys if not key.over]
    exactly, admitted = (sum(getattr(key, name) for key in world.keys) for name in ("exactly", "admitted"))
    busy = busiest.busy_seconds() / setting.seconds
    return {
        "replicas": setting.replicas,
        "keys": setting.keys,
        "stores": setting.stores,
        "messages": "batches" if setting.batches else "one a call",
        "requests_per_s": round(len(waits) / setting.seconds),
        "messages_per_s": round(messages / setting.seconds),
        "calls_per_s_of_busiest_store": round(busiest.calls / setting.seconds),
        "handler_us": round(sum(store.handler_ns for store in world.stores) / messages / 1000, 1),
        "wire_us": round(sum(store.wire_ns for store in world.stores) / messages / 1000, 1),
        "busy": round(busy, 3),
        "wait_p50_ms": round(waits[len(waits) // 2] * 1000, 2),
        "wait_p99_ms": round(waits[int(len(waits) * 0.99)] * 1000, 2),
        "admitted_of_exact": round(admitted / exactly, 4),
        "admitted_beyond_bound": sum(key.beyond for key in world.keys),
        "refused_under_limit": sum(key.refused for key in under),
        "replicas_without_store": sum(replica.store_unreachable for replica in world.replicas),
    }


def settings() -> Iterator[Setting]:
    """One store without batches and one with, as far as they reach, as many as are the default, and twice as many."""
    for replicas in REPLICAS:
        seconds = min(MOST_SECONDS, max(LEAST_SECONDS, REQUESTS / (replicas * REQUESTS_PER_SECOND)))
        for keys in KEYS:
            if replicas <= 200:
                yield Setting(replicas, keys, 1, False, seconds)
                yield Setting(replicas, keys, 1, True, seconds)
            if (stores := len(shards(replicas, None))) > 1:
                yield Setting(replicas, keys, stores, True, seconds)
                if keys == TWICE_AT:
                    yield Setting(replicas, keys, 2 * stores, True, seconds)


def store_row(keys: int, overdrawn: float) -> dict[str, float | int]:
    """One store that knows `keys` keys, of which a part is in debt; real time."""
    ids = [f"key{number:09d}" for number in range(keys)]
    limits, replica = BudgetLimits(60_000, 600_000), "replica"
    tracemalloc.start()
    store = BudgetStore(0)
    store.join(Join(replica, 1, 1, False, Slots({}, frozenset()), [], {}), 0)
    before = tracemalloc.get_traced_memory()[0]
    for number, key in enumerate(ids, 2):
        tokens = 120_000 if number < overdrawn * keys else 1
        store.admit(AdmissionRequest(replica, number, key, limits, True, tokens, Amount()), 0)
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    debts_ms = timed(lambda: store.debts(SECOND))
    with tempfile.TemporaryDirectory() as folder:
        debts = store.debts(SECOND)
        write_ms = timed(lambda: snapshot.write(f"{folder}/budgets.json", debts))
    return {
        "keys": keys,
        "in_debt": round(overdrawn * keys),
        "bytes_per_key": round(size / keys),
        "sweep_of_all_leases_ms": timed(lambda: store.sweep(LEASE_TIME), 1),
        "debts_ms": debts_ms,
        "write_in_a_thread_ms": write_ms,
    }


def timed(work: Callable[[], object], times: int = 5) -> float:
    """Milliseconds of CPU: the median."""
    found = []
    for _ in range(times):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return round(sorted(found)[times // 2] * 1000, 2)


def write(path: Path, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write the rows as they come."""
    written: list[dict[str, Any]] = []
    with path.open("w", newline="") as file:
        for row in rows:
            writer = csv.DictWriter(file, row, lineterminator="\n")
            if not written:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            print(row, flush=True)
            written.append(row)
    return written


def plot(rows: Sequence[dict[str, Any]]) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - only here, and a package of the developers'

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), sharex=True)
    kinds: dict[str, Callable[[dict[str, Any]], bool]] = {
        "one store, one message a call": lambda row: row["stores"] == 1 and row["messages"] == "one a call",
        "one store, batches": lambda row: row["stores"] == 1 and row["messages"] == "batches",
        "a store for 50 replicas, batches": lambda row: (
            row["stores"] == len(shards(row["replicas"], None)) and row["messages"] == "batches"
        ),
    }
    for name, chosen in kinds.items():
        some = [row for row in rows if row["keys"] == 10_000 and chosen(row)]
        for axis, column in zip(axes, ("busy", "wait_p99_ms"), strict=True):
            axis.plot([row["replicas"] for row in some], [row[column] for row in some], marker="o", label=name)
    axes[0].set_ylabel("cores of the busiest store")
    axes[1].set_ylabel("p99 of an admission, ms")
    for axis in axes:
        axis.set(xscale="log", yscale="log", xlabel="gateway replicas; 10,000 keys, 20 requests/s each")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(PLOT, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ray", action="store_true", help="measure calls of a Ray actor first")
    if parser.parse_args().ray:
        from benchmarks.budget_calls import measure  # noqa: PLC0415 - it starts Ray

        write(CALLS_CSV, asyncio.run(measure()))
    costs = CallCosts.measured()
    print(costs)
    write(STORE_CSV, (store_row(keys, part) for keys in (1000, 100_000) for part in (0, 0.1, 1)))
    plot(write(CSV, (simulate(setting, costs) for setting in settings())))


if __name__ == "__main__":
    main()
