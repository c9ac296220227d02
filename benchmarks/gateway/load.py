"""The load: `python -m benchmarks.gateway.load`, a process of its own, whose CPU time is nobody's.

Reads a `Plan` in JSON, prints `begin` and `end` around the seconds that are measured, and then a `Result` in JSON. The
load generators of the package index are made for engines: they take prompts of a tokenizer, pace nothing by chunks, and
with a core of their own send less than the bare echo answers. This one only counts: uvloop, httptools, no JSON.
"""

import asyncio
import gc
import random
import sys
import time
from collections.abc import Coroutine
from typing import Any, NamedTuple

import httptools
import orjson
import uvloop

BEGIN, END = "begin", "end"
ANSWER_SECONDS = 120.0  # beyond those of a stream; then the request has failed


class Plan(NamedTuple):
    """What to send, and for how long."""

    host: str
    port: int
    headers: dict[str, str]
    body: str
    mark: str  # what stands once in each chunk of a stream, and in every whole answer
    chunks: int  # that a good stream has; 0: the answer comes whole
    clients: int  # of a closed loop; 0: an open one
    per_second: float  # of an open loop
    warm_up: float
    seconds: float
    stream_seconds: float
    path: str = "/v1/chat/completions"

    def request(self) -> bytes:
        """As it goes over the wire."""
        body = self.body.encode()
        headers = {"host": self.host, "content-type": "application/json", "content-length": len(body)} | self.headers
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + body


class Result(NamedTuple):
    """Of the seconds that were measured: counts, and seconds of each answer. Of the whole run: what went well."""

    seconds: float
    requests: int
    chunks: int
    answer_s: list[float]
    first_s: list[float]  # to the first chunk of a stream
    good: int
    failed: int


class Tally:
    """What has come so far."""

    def __init__(self) -> None:
        self.chunks = 0
        self.good = 0
        self.failed = 0
        self.counts = False  # whether the seconds are on that are measured
        self.requests = 0
        self.answer_s: list[float] = []
        self.first_s: list[float] = []


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, plan: Plan, tally: Tally) -> None:
        self._plan, self._tally = plan, tally
        self._mark = plan.mark.encode()
        self._parser = httptools.HttpResponseParser(self)
        self._clock = time.perf_counter
        self._transport: Any = None
        self._answered: asyncio.Future[bool] | None = None
        self._sent_at = 0.0
        self._marks = 0
        self._rest = b""
        self.is_open = False

    def connection_made(self, transport: Any) -> None:
        self._transport, self.is_open = transport, True

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self.is_open = False
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(False)

    async def ask(self, request: bytes, since: float) -> None:
        """Send a request that was due at `since`, and count its answer."""
        self._sent_at, self._marks, self._rest = since, 0, b""
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(ANSWER_SECONDS + self._plan.stream_seconds):
                good = await self._answered
        except TimeoutError:
            good = False
            self.close()
        tally = self._tally
        tally.good += good
        tally.failed += not good
        if tally.counts and good:
            tally.requests += 1
            tally.answer_s.append(self._clock() - since)

    def close(self) -> None:
        self.is_open = False
        self._transport.close()

    # What httptools calls.

    def on_body(self, body: bytes) -> None:
        read = self._rest + body
        found = read.count(self._mark)
        self._rest = read[-(len(self._mark) - 1) :]
        if not found:
            return
        tally = self._tally
        if self._plan.chunks and tally.counts:
            if not self._marks:
                tally.first_s.append(self._clock() - self._sent_at)
            tally.chunks += found
        self._marks += found

    def on_message_complete(self) -> None:
        whole = self._marks == self._plan.chunks if self._plan.chunks else self._marks > 0
        if not self._parser.should_keep_alive():
            self.close()
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(whole and self._parser.get_status_code() == 200)


class Load:
    """The clients of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._request = plan.request()
        self._stopping = asyncio.Event()
        self._idle: list[Connection] = []
        self.tally = Tally()

    async def run(self) -> Result:
        """Raises OSError where no connection can be made."""
        plan, tally = self._plan, self.tally
        running = [asyncio.create_task(client) for client in self._clients()]
        clock = time.perf_counter
        await self._pause(plan.warm_up, running)
        _say(BEGIN)
        tally.counts, begin = True, clock()
        await self._pause(plan.seconds, running)
        tally.counts, end = False, clock()
        _say(END)
        self._stopping.set()
        await asyncio.gather(*running)
        return Result(
            end - begin, tally.requests, tally.chunks, tally.answer_s, tally.first_s, tally.good, tally.failed
        )

    async def _pause(self, seconds: float, running: list[asyncio.Task[None]]) -> None:
        """Wait; a client that fails ends it."""
        ended, _ = await asyncio.wait(running, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for one in ended:
            one.result()

    def _clients(self) -> list[Coroutine[Any, Any, None]]:
        return [self._client(at) for at in range(self._plan.clients)] or [self._crowd()]

    async def _client(self, number: int) -> None:
        """One of a closed loop. They begin one after the other, so that their streams do not end all at once."""
        spread = min(self._plan.stream_seconds, self._plan.warm_up * 0.8)
        await asyncio.sleep(spread * number / self._plan.clients)
        while not self._stopping.is_set():
            await self._ask(time.perf_counter())

    async def _crowd(self) -> None:
        """An open loop: requests arrive at random, the same in every run, whether or not others are answered."""
        chance = random.Random(0)  # noqa: S311 - no secret
        asked: set[asyncio.Task[None]] = set()
        clock = time.perf_counter
        due = clock()
        while not self._stopping.is_set():
            due += chance.expovariate(self._plan.per_second)
            await asyncio.sleep(due - clock())
            one = asyncio.create_task(self._ask(due))
            asked.add(one)
            one.add_done_callback(asked.discard)
        await asyncio.gather(*asked)

    async def _ask(self, since: float) -> None:
        connection = self._idle.pop() if self._idle else None
        if connection is None or not connection.is_open:  # it was closed while nobody used it
            connection = await self._connected()
        await connection.ask(self._request, since)
        if connection.is_open:
            self._idle.append(connection)

    async def _connected(self) -> Connection:
        loop, plan = asyncio.get_running_loop(), self._plan
        _, connection = await loop.create_connection(lambda: Connection(plan, self.tally), plan.host, plan.port)
        return connection


def _say(line: str) -> None:
    with open(1, "wb", closefd=False) as out:  # whole: `print` cuts a long line where PYTHONUNBUFFERED is set
        out.write(line.encode() + b"\n")


def main() -> None:
    plan = Plan(**orjson.loads(sys.stdin.buffer.read()))
    gc.disable()

    async def run() -> Result:
        return await Load(plan).run()

    result = uvloop.run(run())
    _say(orjson.dumps(result._asdict()).decode())


if __name__ == "__main__":
    main()
