"""Who sends the load: an open loop, in which no request waits for another, over connections that are kept."""

import asyncio
import time
import uuid
from collections.abc import Iterable
from typing import Any

import aiohttp

from app.keys import LOCAL_KEY
from tests.reliability.kinds import Kind
from tests.reliability.outcomes import Ended, Outcome, events_of, good, lost, of_error

# Longer than any limit of the service lets a client wait for a byte: where none comes for so long, one was outlived.
SILENT_SECONDS = 90.0
# A stream may last for as long as it goes on. None of this load's takes so long on a machine that is full.
STREAM_SECONDS = 300.0


class Load:
    """A steady load of several kinds, from `start` until `stop`."""

    def __init__(self, url: str, kinds: Iterable[Kind]) -> None:
        self.ended: list[Ended] = []
        self._url = url
        self._kinds = list(kinds)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Load":
        self._session = aiohttp.ClientSession(
            self._url,
            headers={"authorization": f"Bearer {LOCAL_KEY}"},
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=STREAM_SECONDS, sock_read=SILENT_SECONDS),
        )
        self._loops = [asyncio.create_task(self._keep_sending(kind)) for kind in self._kinds]
        return self

    async def __aexit__(self, *_: object) -> None:
        for one in [*self._loops, *self._tasks]:
            one.cancel()
        await asyncio.gather(*self._loops, *self._tasks, return_exceptions=True)
        await self._session.close()

    async def finish(self) -> None:
        """Send no more, and wait until all that was sent has ended."""
        for one in self._loops:
            one.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _keep_sending(self, kind: Kind) -> None:
        began, number = time.monotonic(), 0
        while True:
            task = asyncio.create_task(self._send(kind))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            number += 1
            await asyncio.sleep(max(0.0, began + number / kind.per_second - time.monotonic()))

    async def _send(self, kind: Kind) -> None:
        request_id, sent = str(uuid.uuid4()), time.monotonic()
        try:
            outcome = await self._outcome(kind, request_id)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            outcome = lost(0, f"{type(error).__name__}: {error}")
        self.ended.append(Ended(request_id, kind.name, outcome, sent, time.monotonic()))

    async def _outcome(self, kind: Kind, request_id: str) -> Outcome:
        async with self._session.post(kind.path, headers={"x-request-id": request_id}, **_content(kind)) as response:
            if response.headers.get("x-request-id") != request_id:
                text = (await response.read())[:200]
                return lost(response.status, f"status {response.status} with another request id: {text!r}")
            if response.status != 200:
                return of_error(response.status, response.headers.get("retry-after"), await response.read())
            if "retry-after" in response.headers:
                return lost(200, "status 200 with Retry-After")
            received = await response.read()
            if kind.stream is not None:
                return kind.stream(events_of(received))
            return good() if kind.is_whole(received) else lost(200, f"no whole answer: {received[:200]!r}")


def _content(kind: Kind) -> dict[str, Any]:
    if kind.file is None:
        return {"json": kind.body}
    form = aiohttp.FormData(kind.body)
    form.add_field("file", kind.file, filename="recording.wav", content_type="audio/wav")
    return {"data": form}
