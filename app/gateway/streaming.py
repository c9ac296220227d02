"""Relays the server-sent events of one answer to the client: at once, kept alive, and ended as the contract says."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from app.http.reply import EVENT_STREAM_HEADERS, Reply
from app.upstream.relay import Answer
from contract.errors import ApiError, upstream_error

EVENT_END = b"\n\n"
PING = b": ping\n\n"


# (error, first piece, events so far) -> the event that tells of it
FailureEvent = Callable[[ApiError, bytes, int], bytes]


class Pinger:
    """Writes a comment into a stream that has been silent for `interval` seconds, so that no proxy drops it."""

    def __init__(self, reply: Reply, interval: float) -> None:
        self._reply = reply
        self._interval = interval
        self._last = asyncio.get_running_loop().time()

    def wrote(self) -> None:
        self._last = asyncio.get_running_loop().time()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            silent = loop.time() - self._last
            if silent >= self._interval:
                await self._reply.write(PING)
                self.wrote()
                silent = 0.0
            await asyncio.sleep(self._interval - silent)


async def relay_events(reply: Reply, answer: Answer, ping_interval: float, failure_event: FailureEvent) -> None:
    """Write the events of `answer`. A failure becomes a last event that holds the error; no [DONE] follows it."""
    reply.streamed = True
    await reply.start(answer.head.status, EVENT_STREAM_HEADERS)
    pinger = Pinger(reply, ping_interval)
    pinging = asyncio.create_task(pinger.run())
    failure: ApiError | None = None
    first = b""
    try:
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces:
                first = first or piece
                reply.events += piece.count(EVENT_END)
                await reply.write(piece)
                pinger.wrote()
    except ApiError as error:
        failure = error
    finally:
        pinging.cancel()
    if answer.tail is None:
        failure = failure or upstream_error()
    else:
        reply.usage = answer.tail.usage
        failure = ApiError.from_wire(answer.tail.error) if answer.tail.error else None
    if failure is None:
        await reply.finish()
        return
    reply.reason = failure.code
    # The blank line ends an event that the failure may have cut.
    await reply.finish(EVENT_END + failure_event(failure, first, reply.events))


class StreamBrokenError(Exception):
    """A stream that is no events broke off; the connection is cut, so that it does not look like an end."""


async def relay_bytes(reply: Reply, answer: Answer) -> None:
    """Write the pieces of `answer`, such as a sound, as they come. Raises StreamBrokenError."""
    reply.streamed = True
    await reply.start(answer.head.status, [("content-type", answer.head.content_type)])
    failure: ApiError | None = None
    try:
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces:
                reply.events += 1
                await reply.write(piece)
    except ApiError as error:
        failure = error
    if answer.tail is None or answer.tail.error:
        failure = failure or upstream_error()
        reply.reason = failure.code
        raise StreamBrokenError(failure.code)
    reply.usage = answer.tail.usage
    await reply.finish()
