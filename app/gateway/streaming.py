"""Relays a streamed answer to the client: at once, kept alive, bounded, and ended as the contract says."""

import asyncio
from collections.abc import Callable

from app.config.limits import Limits
from app.gateway.open_streams import OpenStreams
from app.http.response import EVENT_STREAM_HEADERS, ResponseWriter
from app.telemetry.record import RequestRecord
from app.upstream.answer import Answer, Pieces
from contract.errors import ApiError, upstream_error
from contract.sse import EVENT_END, PING

# (error, first piece, events so far) -> the event that reports it; the piece is empty where none came
FailureEvent = Callable[[ApiError, bytes, int], bytes]


class StreamBrokenError(Exception):
    """A stream that is no events broke off; the connection is cut, so that it does not look like an end."""


async def relay_events(
    response: ResponseWriter,
    record: RequestRecord,
    answer: Answer,
    limits: Limits,
    failure_event: FailureEvent,
    *,
    streams: OpenStreams,
) -> None:
    """Write the events of `answer`. A failure becomes a last event that holds the error; no [DONE] follows it."""
    first = b""

    def note(piece: bytes) -> None:
        nonlocal first
        first = first or piece
        record.events += piece.count(EVENT_END)

    await response.start(answer.head.status, EVENT_STREAM_HEADERS)
    failure = await _relay(response, record, answer, limits, streams=streams, note=note, ping=PING)
    # The blank line ends an event that the failure may have cut.
    await response.finish(EVENT_END + failure_event(failure, first, record.events) if failure else b"")


async def relay_bytes(
    response: ResponseWriter, record: RequestRecord, answer: Answer, limits: Limits, *, streams: OpenStreams
) -> None:
    """Write the pieces of `answer`, such as audio, as they come. Raises StreamBrokenError."""
    await response.start(answer.head.status, [("content-type", answer.head.content_type)])
    failure = await _relay(response, record, answer, limits, streams=streams, note=lambda _: None)
    if failure:
        raise StreamBrokenError(failure.code)
    await response.finish()


async def _relay(
    response: ResponseWriter,
    record: RequestRecord,
    answer: Answer,
    limits: Limits,
    *,
    streams: OpenStreams,
    note: Callable[[bytes], None],
    ping: bytes = b"",
) -> ApiError | None:
    """Write all pieces and record how it ended. Returns what failed, if anything did."""
    record.streamed = True
    failure: ApiError | None = None
    async with answer.reading(response.give_up) as pieces:
        try:
            with streams.one_more(pieces):
                await _write_all(response, pieces, limits, streams=streams, note=note, ping=ping)
        except ApiError as error:
            failure = error
        finally:
            while rest := pieces.take():
                note(rest)  # the engine made it, though the client has not read it
    if answer.tail is None:
        failure = failure or upstream_error()
    else:
        record.usage = answer.tail.usage
        failure = ApiError.from_wire(answer.tail.error) if answer.tail.error else None
    if failure is not None:
        record.reason = failure.code
    return failure


async def _write_all(
    response: ResponseWriter,
    pieces: Pieces,
    limits: Limits,
    *,
    streams: OpenStreams,
    note: Callable[[bytes], None],
    ping: bytes,
) -> None:
    """Write and `note` all `pieces` until they have ended, and `ping` where nothing comes for a while.

    Raises ApiError `timeout` where the engine is silent for too long, `upstream_error` where all streams must end.
    """
    loop = asyncio.get_running_loop()
    silent_since = written = loop.time()
    is_between_events = True
    timer: asyncio.TimerHandle | None = None  # one for many waits; where it rings too early it is set again

    def ring() -> None:
        nonlocal timer
        timer = None
        pieces.wake()

    try:
        while True:
            if not pieces.ended:
                streams.require_time()
            ends = silent_since + limits.stream_idle_timeout_s
            ping_at = written + limits.ping_interval_s if ping else ends
            if piece := pieces.take():
                note(piece)
                await response.write(piece)
                is_between_events = piece.endswith(EVENT_END)
                silent_since = written = loop.time()
            elif pieces.ended:
                return
            elif loop.time() >= ends:
                message = f"The model sent nothing for {limits.stream_idle_timeout_s:g} s. Send the request again."
                raise ApiError("timeout", message)
            elif loop.time() >= ping_at:
                if is_between_events:
                    await response.write(ping)
                written = loop.time()
            else:
                timer = timer or loop.call_at(min(ends, ping_at), ring)
                await pieces.wait()
    finally:
        if timer is not None:
            timer.cancel()
