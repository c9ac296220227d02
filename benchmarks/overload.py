"""What more requests than a model can take do to those that it takes: python -m benchmarks.overload

An engine that answers each request after a tenth of a second stands behind the real gateway, in the production profile
and with one ingress replica. It takes 16 requests at once, so 160 a second, and 64 more may wait. Requests arrive at
random at a mean rate, whether or not others are answered: at fractions and multiples of that capacity. Each is answered
well, refused (503 `overloaded` with Retry-After), or something else, which is an error of the run.

A refusal says when to come again. Whether that is right: after the heaviest load, as many clients as a queue holds are
refused while it is full, wait for as long as they were told, and ask once more; what they are answered is counted.

Writes benchmarks/overload.csv, a row for each rate.
"""

import asyncio
import csv
import gc
import random
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
from ray.serve import Application

from app.keys import LOCAL_KEY
from benchmarks.gateway.answers import COMPLETION, USAGE
from benchmarks.gateway.engine import EchoEngine, build_with
from benchmarks.gateway.systems import HOST, MODEL, echo_entry, gateway, gateway_args
from contract.options.catalog import EngineSpec, ServedModel
from contract.protocol import CHAT_ROUTE, RequestHead, ResponseHead, ResponseItem

CSV = Path(__file__).with_suffix(".csv")
ANSWER_SECONDS = 0.1
PLACES, QUEUE = 16, 64
CAPACITY = PLACES / ANSWER_SECONDS
RATES = (0.5, 0.9, 1.0, 1.5, 2.0, 5.0)  # of the capacity
SECONDS, WARM_UP_SECONDS = 20.0, 3.0
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Is there room for one more?"}], "max_tokens": 16}


class SlowEngine(EchoEngine):
    """Answers whole, and after a while."""

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:  # noqa: ARG002
        await asyncio.sleep(ANSWER_SECONDS)
        yield ResponseHead(200, body=COMPLETION, usage=USAGE)

    @classmethod
    async def start(cls, model: ServedModel, options: Any) -> Self:  # noqa: ARG003
        return cls()


def build(args: dict[str, Any]) -> Application:
    """`import_path: benchmarks.overload:build`."""
    return build_with(EngineSpec("vllm", {"chat": "benchmarks.overload:SlowEngine"}, None), args)


class Answer(NamedTuple):
    """One. Seconds since it was due, and what Retry-After says."""

    status: int
    seconds: float
    retry_after: int


class Row(NamedTuple):
    """One rate, in requests a second, and milliseconds."""

    times_capacity: float
    arrived_per_s: float
    good_per_s: float
    refused_per_s: float
    other: int
    good_p50_ms: float
    good_p99_ms: float
    refused_p50_ms: float
    refused_p99_ms: float
    refused_max_ms: float
    retry_after_min_s: int
    retry_after_max_s: int


class Clients:
    """Send requests over connections that are kept."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, due: float) -> Answer:
        async with self._session.post(CHAT_ROUTE, json=BODY) as response:
            await response.read()
            retry_after = int(response.headers.get("retry-after", 0))
            return Answer(response.status, time.perf_counter() - due, retry_after)

    async def arrive(self, per_second: float, seconds: float) -> list[Answer]:
        """Have requests arrive at random for so long; what was answered to each."""
        seeded = random.Random(per_second)  # noqa: S311 - no secret
        began = due = time.perf_counter()
        asked: list[asyncio.Task[Answer]] = []
        while (due := due + seeded.expovariate(per_second)) < began + seconds:
            await asyncio.sleep(due - time.perf_counter())
            asked.append(asyncio.create_task(self.ask(due)))
        return list(await asyncio.gather(*asked))

    async def come_again(self, per_second: float) -> list[Answer]:
        """Refuse some by a load of `per_second`, and have those ask again when they were told to, and the load end."""
        refused = [one for one in await self.arrive(per_second, 2.0) if one.status == 503][-QUEUE:]

        async def again(told: Answer) -> Answer:
            await asyncio.sleep(told.retry_after)
            return await self.ask(time.perf_counter())

        return list(await asyncio.gather(*map(again, refused)))


def row(times: float, answers: list[Answer], seconds: float) -> Row:
    good = sorted(one.seconds for one in answers if one.status == 200)
    refused = sorted(one.seconds for one in answers if one.status == 503)
    told = [one.retry_after for one in answers if one.status == 503]
    return Row(
        times_capacity=times,
        arrived_per_s=round(len(answers) / seconds, 1),
        good_per_s=round(len(good) / seconds, 1),
        refused_per_s=round(len(refused) / seconds, 1),
        other=len(answers) - len(good) - len(refused),
        good_p50_ms=milliseconds(good, 0.5),
        good_p99_ms=milliseconds(good, 0.99),
        refused_p50_ms=milliseconds(refused, 0.5),
        refused_p99_ms=milliseconds(refused, 0.99),
        refused_max_ms=milliseconds(refused, 1.0),
        retry_after_min_s=min(told, default=0),
        retry_after_max_s=max(told, default=0),
    )


def milliseconds(ordered: list[float], part: float) -> float:
    """A quantile; 0 of nothing."""
    return round(1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1) if ordered else 0.0


async def measure(url: str) -> tuple[list[Row], list[Answer]]:
    headers = {"authorization": f"Bearer {LOCAL_KEY}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, headers=headers, connector=connector) as session:
        clients = Clients(session)
        await clients.arrive(CAPACITY, WARM_UP_SECONDS)
        rows = []
        for times in RATES:
            answers = await clients.arrive(times * CAPACITY, SECONDS)
            rows.append(row(times, answers, SECONDS))
            print(rows[-1], flush=True)
        return rows, await clients.come_again(max(RATES) * CAPACITY)


def main() -> None:
    gc.disable()  # of the answers that the clients keep, a search for garbage would take 0.2 s, which all others wait
    entry = echo_entry() | {"scaling": {"max_ongoing_requests": PLACES, "max_queued_requests": QUEUE}}
    args = gateway_args(entry) | {"fairness": {"share": 1}}  # one key: none of it is kept free for others
    with gateway("benchmarks.overload:build", args, production=True) as system:
        rows, again = asyncio.run(measure(f"http://{HOST}:{system.port}"))
    with CSV.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(Row._fields)
        lines.writerows(rows)
    print(
        f"{sum(one.status == 200 for one in again)} of {len(again)} that came again when they were told were answered"
    )
    if any(one.other for one in rows):
        sys.exit("some requests were neither answered nor refused")


if __name__ == "__main__":
    main()
