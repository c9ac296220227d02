"""A key that floods a model, and readers that stall: on real Ray, others are served as if they were not there."""

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.conftest import FLOOD, GATEWAYS, QUIET, SLOW_PLACES, Gateways, key

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "slow", "messages": [{"role": "user", "content": "hi"}]}
FLOOD_FACTOR = 20
FLOOD_SECONDS = 12
IDLE_REQUESTS = 4
PAUSE_SECONDS = 1.0  # of the flood after a refusal; the clients run on the same few cores
STALLED_SECONDS, GROW_SECONDS = 60, 30


@dataclass
class Outcome:
    """Statuses of the answers, and the seconds that those with 200 took."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    retry_after: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        times = f"p95 {self.p95:.2f} s, at most {max(self.seconds):.2f} s" if self.seconds else ""
        return f"{dict(self.statuses)}, Retry-After {sorted(self.retry_after)}, {times}"

    @property
    def p95(self) -> float:
        return sorted(self.seconds)[round(0.95 * (len(self.seconds) - 1))]


def client_of(gateways: Gateways, group: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    headers = {"authorization": f"Bearer {key(group)}"}
    return httpx.AsyncClient(base_url=gateways.url, headers=headers, timeout=60, limits=limits)


async def send(client: httpx.AsyncClient, outcome: Outcome, model: str = "slow") -> httpx.Response:
    sent = time.monotonic()
    response = await client.post(CHAT, json=BODY | {"model": model})
    outcome.statuses[response.status_code] += 1
    if response.status_code == 200:
        outcome.seconds.append(time.monotonic() - sent)
    else:
        outcome.retry_after.add(int(response.headers["retry-after"]))
    return response


async def keep_sending(client: httpx.AsyncClient, outcome: Outcome) -> None:
    """One of many requests that are always open."""
    while True:
        if (await send(client, outcome)).status_code != 200:
            await asyncio.sleep(PAUSE_SECONDS)


async def send_each_second(client: httpx.AsyncClient, outcome: Outcome, number: int) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for turn in range(number):
            await asyncio.sleep(max(0.0, began + turn - time.monotonic()))
            group.create_task(send(client, outcome))


async def test_a_key_that_floods_a_model_does_not_hurt_another(gateways: Gateways) -> None:
    """At 20 times what the model takes, each request of the other key succeeds, in at most 3 times its idle time."""
    idle, flooded, flood = Outcome(), Outcome(), Outcome()
    async with client_of(gateways, FLOOD) as loud, client_of(gateways, QUIET) as quiet:
        await send_each_second(quiet, Outcome(), 2)  # first requests open connections
        await send_each_second(quiet, idle, IDLE_REQUESTS)
        clients = [asyncio.create_task(keep_sending(loud, flood)) for _ in range(FLOOD_FACTOR * SLOW_PLACES)]
        try:
            await asyncio.sleep(3)
            await send_each_second(quiet, flooded, FLOOD_SECONDS)
        finally:
            for one in clients:
                one.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
    print(f"\nidle: {idle}\nflooded: {flooded}\nthe flood: {flood}")
    assert flooded.statuses == {200: FLOOD_SECONDS}
    assert flooded.p95 <= 3 * idle.p95
    assert set(flood.statuses) == {200, 503}, "it was no flood"


@contextmanager
def unread(gateways: Gateways) -> Iterator[None]:
    """A connection with a request for a stream, of which nothing is read."""
    body = json.dumps(BODY | {"stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key(FLOOD)}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.connect(("127.0.0.1", gateways.port))
        connection.sendall(head.encode() + body)
        yield


async def test_readers_that_stall_give_a_model_s_slots_back(gateways: Gateways) -> None:
    """After `limits.write_stall_timeout_s`, while their connections are still open."""
    async with client_of(gateways, QUIET) as quiet:

        async def open_streams() -> int:
            response = await quiet.post(CHAT, json=BODY)
            assert response.status_code == 200, response.text
            return int(response.json()["open"])

        with ExitStack() as readers:
            for _ in range(SLOW_PLACES):
                readers.enter_context(unread(gateways))
            async with asyncio.timeout(STALLED_SECONDS):
                while not (most := await open_streams()):
                    pass
                while await open_streams():
                    pass
            assert most > 0


async def test_what_waits_in_the_gateways_makes_a_model_grow(gateways: Gateways) -> None:
    """Its replica is as full as it is meant to be, so that only what waits can make another start."""
    processes: set[int] = set()
    async with client_of(gateways, QUIET) as client, asyncio.timeout(GROW_SECONDS):
        while len(processes) < 2:
            responses = await asyncio.gather(*(send(client, Outcome(), "grows") for _ in range(8 * GATEWAYS)))
            processes |= {response.json()["process"] for response in responses}
