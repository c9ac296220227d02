"""The clients: each sends what was chosen for it, one request after the other, and says how each has ended."""

import asyncio
import time
from typing import NamedTuple

import aiohttp
import orjson

from app.telemetry.record import CLIENT_GONE, OK
from benchmarks.gateway.faults.account import Reading
from benchmarks.gateway.faults.engine import Mode, PlannedAnswer, Report
from benchmarks.gateway.faults.kinds import LEFT_BEFORE, Request
from benchmarks.gateway.page import Outcome
from benchmarks.gateway.systems import HOST, MODEL
from contract.sse import DONE, EVENT_END

ANSWER_SECONDS = 30.0
PATH = "/v1/chat/completions"


class Ended(NamedTuple):
    """A request that has ended, as its client saw it."""

    request: Request
    outcome: Outcome  # a reason that is no reason of the gateway's says what was wrong
    chunks: int = 0  # that were seen of its stream
    left_at: float | None = None  # seconds of the machine's monotonic clock

    @property
    def is_as_meant(self) -> bool:
        return self.outcome == self.request.kind.outcome


class Arrivals(asyncio.DatagramProtocol):
    """The ids of requests that the engine has and lets wait, as it tells them."""

    def __init__(self) -> None:
        self._begun: dict[str, asyncio.Event] = {}

    def expect(self, request_id: str) -> asyncio.Event:
        """It is set once the engine has the request."""
        return self._begun.setdefault(request_id, asyncio.Event())

    def datagram_received(self, data: bytes, _: object) -> None:
        self.expect(data.decode()).set()


class Client:
    """Whoever has a key. Any number of its requests may be under way."""

    _port = 0  # where the engine tells what has arrived

    def __init__(self, url: str, key: str) -> None:
        self._session = aiohttp.ClientSession(
            url,
            headers={"authorization": f"Bearer {key}"},
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
        )
        self._arrivals = Arrivals()

    async def __aenter__(self) -> "Client":
        loop = asyncio.get_running_loop()
        self._telling, _ = await loop.create_datagram_endpoint(lambda: self._arrivals, (HOST, 0))
        self._port = self._telling.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._telling.close()
        await self._session.close()

    async def has_arrived(self, request: Request) -> None:
        """Wait until the engine has a request that it lets wait."""
        await self._arrivals.expect(request.id).wait()

    async def send(self, request: Request, until: asyncio.Event | None = None) -> Ended:
        """Send it, and do what its kind does. Who leaves before the first byte waits `until` then, if that is given."""
        try:
            if request.kind is LEFT_BEFORE:
                return await self._leave_before(request, until)
            return await self._see(request, await self._post(request))
        except (aiohttp.ClientError, TimeoutError) as error:
            return Ended(request, (0, f"{type(error).__name__}: {error}"))

    async def report(self) -> Report:
        """What the engine knows. Raises aiohttp.ClientError."""
        messages = [{"role": "user", "content": "What is under way?"}]
        request = {"model": MODEL, "messages": messages, "metadata": PlannedAnswer(Mode.REPORT).metadata()}
        async with self._session.post(PATH, json=request, raise_for_status=True) as response:
            return Report.of(await response.read())

    async def read_account(self) -> Reading:
        """Raises aiohttp.ClientError."""
        sent = time.monotonic()
        async with self._session.get("/v1/models", raise_for_status=True) as response:
            received = time.monotonic()
            return Reading(sent, received, int(response.headers["x-ratelimit-remaining-tokens"]))

    async def _post(self, request: Request) -> aiohttp.ClientResponse:
        headers = {"x-request-id": request.id}
        return await self._session.post(PATH, json=request.body(MODEL, self._port), headers=headers)

    async def _leave_before(self, request: Request, until: asyncio.Event | None) -> Ended:
        asked = asyncio.create_task(self._post(request))
        arrived = asyncio.create_task(self.has_arrived(request))
        await asyncio.wait([asked, arrived], return_when=asyncio.FIRST_COMPLETED)
        arrived.cancel()
        leaving = asyncio.create_task(until.wait() if until else asyncio.sleep(request.patience))
        await asyncio.wait([asked, leaving], return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        left_at = time.monotonic()
        if asked.done():
            return await self._see(request, asked.result())
        asked.cancel()  # closes the connection
        await asyncio.wait([asked])
        return Ended(request, (0, CLIENT_GONE), left_at=left_at)

    async def _see(self, request: Request, response: aiohttp.ClientResponse) -> Ended:
        """Read the answer, to its end or until it is left."""
        async with response:
            if response.content_type == "text/event-stream":
                return await self._see_stream(request, response)
            return Ended(request, (response.status, reason_of_answer(await response.read())))

    async def _see_stream(self, request: Request, response: aiohttp.ClientResponse) -> Ended:
        events: list[bytes] = []
        while event := await response.content.readuntil(EVENT_END):
            if event == EVENT_END:
                continue  # a blank line, before an error
            events.append(event)
            if request.kind.is_left and len(events) == request.seen:
                left_at = time.monotonic()
                response.close()
                return Ended(request, (response.status, CLIENT_GONE), len(events), left_at)
        reason = reason_of_stream(events, request.chunks)
        return Ended(request, (response.status, reason), len(events) - 1)


def reason_of_stream(events: list[bytes], chunks: int) -> str:
    """How a stream ended that was to have so many chunks and one event after them, which says how."""
    *before, last = events or [b""]
    if len(before) != chunks or not all(b'"choices"' in one for one in before):
        return f"{len(before)} events came before the last, not {chunks} chunks"
    if last == DONE:
        return OK
    return reason_of_answer(last.removeprefix(b"data: "))


def reason_of_answer(body: bytes) -> str:
    """OK, the code of the error that it is, or its text."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return f"neither an answer nor an error: {body[:200]!r}"
    return OK if "choices" in answer else answer["error"]["code"]
