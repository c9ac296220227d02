"""Runs the load and writes benchmarks/gateway_faults.csv: see `measure`."""

import asyncio
import csv
import sys
import time
from collections.abc import Sequence
from typing import Any

from app.budgets.estimate import Estimator
from app.endpoints.chat import CHAT
from app.keys import LOCAL_KEY
from app.keys.secret import hash_key, new_key, public_id
from benchmarks.gateway.engine import CONTEXT
from benchmarks.gateway.faults import counts
from benchmarks.gateway.faults.account import PER_SECOND, TOKENS_PER_MINUTE, Span, charged
from benchmarks.gateway.faults.clients import Client, Ended
from benchmarks.gateway.faults.counts import Row
from benchmarks.gateway.faults.kinds import ANSWER, LEFT_BEFORE, choices, request_of
from benchmarks.gateway.measuring import COUNT_SECONDS
from benchmarks.gateway.page import PageCounts, counted
from benchmarks.gateway.systems import HOST, MODEL, System, echo_entry, gateway, gateway_args
from contract.project import PROJECT_FOLDER, in_project

CSV = PROJECT_FOLDER / "benchmarks" / "gateway_faults.csv"
SECONDS, CLIENTS = 20.0, 32
SLOTS = 64  # more than the load takes
HOLD_SECONDS = 10.0  # in which requests that take all slots get to the engine
# The account: it must never be full, nor so empty that a request is refused.
MISSING, CHECK_SECONDS = 2 * PER_SECOND, 0.25
READINGS, READ_AFTER = 300, 1.0  # one after the other, so that what they allow together is narrow


def measure() -> None:
    """Send a mix of good and bad requests, and compare what clients, gateway, engine and account say of them.

    Exits where they disagree.
    """
    observer = new_key()
    with gateway("benchmarks.gateway.faults.engine:build", args(observer), production=True) as system:
        table, wrong = asyncio.run(run(system, observer))
    write(table)
    for row in table:
        print(*row, sep=", ")
    if wrong:
        sys.exit("\n".join(["They disagree.", *wrong]))


def args(observer: str) -> dict[str, Any]:
    """The configuration: the local key, which sends the load, and one for who looks on."""
    entry = echo_entry()
    # All slots of the key, and one who looks on: a place that is lost shows.
    entry["scaling"] = {"max_ongoing_requests": SLOTS + 1}
    found = gateway_args(entry)
    found["keys"][0]["budget"] |= {"tokens_per_minute": TOKENS_PER_MINUTE, "concurrent_requests": SLOTS}
    found["keys"].append({"id": public_id(observer), "sha256": hash_key(observer)})
    return found | {"fairness": {"share": 1}}  # else places are kept for who looks on


async def run(system: System, observer: str) -> tuple[list[Row], list[str]]:
    """The rows, and all that is wrong. Raises aiohttp.ClientError, ValueError where the account does not show."""
    url = f"http://{HOST}:{system.port}"
    prompt = await estimated_prompt()
    async with Client(url, LOCAL_KEY) as client, Client(url, observer) as looks_on:
        load = Load(client)
        await load.fill_up_to(MISSING)
        before, first = await load.charged(), len(load.ended)
        await load.run()
        await load.fill_up_to(2 * MISSING)
        after, ended = await load.charged(), load.ended
        page = await settled_page(system, ended)
        report = await looks_on.report()
        table = counts.rows(ended, page, report.cancelled)
        owed = counts.charges(ended[first:], prompt, report.cancelled)
        print(f"charged {after.since(before)} tokens for what costs {owed}", flush=True)
        wrong = [
            *counts.wrong_counts(table, ended),
            *counts.wrong_tokens(ended, page),
            *counts.wrong_cancellations(ended, report.cancelled),
            *counts.wrong_charges(after.since(before), owed),
            *await wrong_slots(client, looks_on),
        ]
        return table, wrong


async def estimated_prompt() -> int:
    """Tokens that the gateway takes the load's prompt for."""
    estimator = Estimator()
    await estimator.load(MODEL, in_project(echo_entry()["source"]))
    return estimator.estimate(MODEL, request_of(ANSWER).body(MODEL), CHAT.counted, CONTEXT).prompt


class Load:
    """A closed loop of clients, and one request now and then that keeps the account from being full."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.ended: list[Ended] = []

    async def run(self) -> None:
        stop_at = time.monotonic() + SECONDS
        await asyncio.gather(*(self._loop(seed, stop_at) for seed in range(CLIENTS)), self._keep_account(stop_at))

    async def _loop(self, seed: int, stop_at: float) -> None:
        requests = choices(seed)
        while time.monotonic() < stop_at:
            self.ended.append(await self._client.send(next(requests)))

    async def _keep_account(self, stop_at: float) -> None:
        while time.monotonic() < stop_at:
            await self.fill_up_to(MISSING)
            await asyncio.sleep(CHECK_SECONDS)

    async def fill_up_to(self, missing: int) -> None:
        """Have as many tokens charged as make that many miss in the account."""
        more = missing - (await self._client.read_account()).missing
        if more > 0:
            self.ended.append(await self._client.send(request_of(ANSWER, tokens=more)))

    async def charged(self) -> Span:
        """What was charged so far, once nothing is under way."""
        await asyncio.sleep(READ_AFTER)
        return charged([await self._client.read_account() for _ in range(READINGS)])


async def settled_page(system: System, ended: Sequence[Ended]) -> PageCounts:
    """The gateway's page once it agrees with the clients, or after a while as it is then."""
    deadline = time.monotonic() + COUNT_SECONDS
    while True:
        page = counted((await asyncio.to_thread(system.get, "/metrics")).decode(), MODEL)
        wrong = [*counts.wrong_counts(counts.rows(ended, page, {}), ended), *counts.wrong_tokens(ended, page)]
        if not wrong or time.monotonic() > deadline:
            return page
        await asyncio.sleep(1)


async def wrong_slots(client: Client, looks_on: Client) -> list[str]:
    """Whether all slots of the key and all places of the model are free: as many requests as there are hold them, and
    one more is refused; once they are left, none is under way, and the key has slots again.
    """
    wrong = []
    under_way = (await looks_on.report()).under_way
    if under_way:
        wrong.append(f"{under_way} answers are under way in the engine after the load")
    requests, leave = [request_of(LEFT_BEFORE) for _ in range(SLOTS)], asyncio.Event()
    held = [asyncio.create_task(client.send(one, leave)) for one in requests]
    arrived = [asyncio.create_task(client.has_arrived(one)) for one in requests]
    _, missing = await asyncio.wait(arrived, timeout=HOLD_SECONDS)
    if missing:
        wrong.append(f"{len(missing)} of {SLOTS} requests at once did not get to the engine: slots or places are lost")
    beyond = await client.send(request_of(ANSWER))
    if beyond.outcome != (429, "rate_limit_exceeded"):
        wrong.append(f"one request beyond {SLOTS} at once ended with {beyond.outcome}, not with a 429")
    leave.set()
    left = await asyncio.gather(*held)
    for one in missing:
        one.cancel()
    await asyncio.sleep(counts.CANCELLED_SECONDS)
    report = await looks_on.report()
    if report.under_way:
        wrong.append(f"{report.under_way} answers are under way in the engine a second after their clients left")
    last = await client.send(request_of(ANSWER))
    if not last.is_as_meant:
        wrong.append(f"when all slots were left, a request ended with {last.outcome}")
    cancelled = {one.request.id: report.cancelled[one.request.id] for one in left if one.request.id in report.cancelled}
    return [*wrong, *counts.wrong_cancellations(left, cancelled)]


def write(table: Sequence[Row]) -> None:
    with CSV.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(Row._fields)
        lines.writerows(
            row._replace(slowest_cancellation_ms=None if (ms := row.slowest_cancellation_ms) is None else round(ms, 1))
            for row in table
        )
