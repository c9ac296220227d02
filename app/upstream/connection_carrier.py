"""Carries requests over connections of our own, each in a slot that Serve's handle gives: see `contract/frames.py`."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from app.upstream.answer import Ending, Pieces
from app.upstream.replica_connections import ReplicaConnections
from app.upstream.serve_failure import ReplicaLost
from app.upstream.slot_pool import OpenSlot, SlotPool
from app.upstream.stream_buffer import joined
from contract.errors import ApiError
from contract.frames import (
    NUMBER,
    REQUEST,
    STREAMED,
    FrameError,
    Kind,
    parse_response_head,
    parse_response_tail,
    request_head,
)
from contract.protocol import RequestHead, ResponseHead, ResponseTail, SlotRequest

MAX_WINDOW_BYTES = 2**31  # what a frame's number holds


class ConnectionCarrier:
    """Sends each request in a slot that is held already, or in a new one where the request's replica matters."""

    def __init__(self, handles: dict[str, Any], connections: ReplicaConnections, window_bytes: int) -> None:
        """A replica gets at most `window_bytes` of a stream ahead of its client."""
        self._pools = {model_id: SlotPool(handle, connections) for model_id, handle in handles.items()}
        self._window_bytes = min(window_bytes, MAX_WINDOW_BYTES)

    def attempt(self, model_id: str, request: RequestHead, body: bytes) -> "ConnectionAnswer":
        return ConnectionAnswer(self._pools[model_id], request, body, self._window_bytes)

    def refuse_waiting(self, model_id: str, error: ApiError) -> None:
        if model_id in self._pools:
            self._pools[model_id].refuse_waiting(error)


class ConnectionAnswer:
    """An answer over a connection. It is its own buffer: what is not taken is not granted to the replica again."""

    head: ResponseHead

    def __init__(self, pool: SlotPool, request: RequestHead, body: bytes, window_bytes: int) -> None:
        self.tail: ResponseTail | None = None
        self.ended = False
        self._pool = pool
        self._request, self._body = request, body
        self._window_bytes = window_bytes
        self._slot: OpenSlot | None = None
        self._begun = asyncio.get_running_loop().create_future()  # the head has come, with its body where it has one
        self._has_head = False
        self._pieces: deque[bytes] = deque()
        self._missing = 0  # bytes of a whole body
        self._taken = 0  # bytes that the replica was not yet granted again
        self._came = asyncio.Event()
        self._ending = Ending()

    async def start(self) -> None:
        slot = await self._find_slot()
        self._slot = slot
        slot.use(self)
        head = request_head(self._request)
        number, connection = slot.number, slot.connection
        connection.send(Kind.REQUEST, number, REQUEST.pack(len(head), len(self._body), self._window_bytes))
        connection.send(Kind.BODY, number, head)
        if self._body:
            await connection.send_parts(Kind.BODY, number, self._body)
        self._body = b""
        await self._begun

    def reading(self, _: Callable[[], None]) -> AbstractAsyncContextManager[Pieces]:
        return _nothing_to_do(self)

    def when_ended(self, callback: Callable[[], None]) -> None:
        self._ending.call(callback)

    def take(self) -> bytes:
        taken = joined(self._pieces) if self._pieces else b""
        self._grant(len(taken))
        if not self._pieces and not self.ended:
            self._came.clear()
        return taken

    async def wait(self) -> None:
        await self._came.wait()

    def wake(self) -> None:
        self._came.set()

    def close(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.give_back()
        self._end()

    def frame_received(self, kind: int, payload: bytes) -> None:
        """A frame of the slot. Raises FrameError."""
        if kind == Kind.DATA and self._has_head:
            self._receive_data(payload)
        elif kind == Kind.TAIL and self._begun.done():
            self.tail = parse_response_tail(payload)
            self._end_well()
        elif kind == Kind.HEAD and not self._has_head:
            self._receive_head(payload)
        else:
            raise FrameError(f"a frame of the kind {kind} does not belong here")

    def lost(self) -> None:
        """The slot is lost."""
        self._slot = None
        if not self._begun.done():
            self._begun.set_exception(ReplicaLost())
            self._begun.exception()  # who waited for it may have left
        self._end()

    async def _find_slot(self) -> OpenSlot:
        """Raises ApiError, ReplicaLost."""
        request = self._request
        if not request.session and not request.prefix and request.adapter is None:
            return await self._pool.take()
        return await self._pool.hold(SlotRequest(request.prefix, request.adapter), request.session)

    def _receive_head(self, payload: bytes) -> None:
        length, self.head = parse_response_head(payload)
        self._has_head = True
        if self.head.error:
            self._begun.set_exception(ApiError.from_wire(self.head.error))
            self._begun.exception()
            self._end_well()
        elif length == STREAMED:
            self._begun.set_result(None)
        else:
            self._missing = length
            self._complete()

    def _receive_data(self, payload: bytes) -> None:
        self._pieces.append(payload)
        if self._begun.done():
            self._came.set()
            return
        self._missing -= len(payload)
        self._grant(len(payload))
        self._complete()

    def _complete(self) -> None:
        """A whole body is there once nothing of it is missing."""
        if self._missing <= 0:
            self.head = self.head._replace(body=b"".join(self._pieces))
            self._pieces.clear()
            self._begun.set_result(None)
            self._end_well()

    def _grant(self, size: int) -> None:
        self._taken += size
        if 2 * self._taken >= self._window_bytes and self._slot is not None:
            self._slot.connection.send(Kind.CREDIT, self._slot.number, NUMBER.pack(self._taken))
            self._taken = 0

    def _end_well(self) -> None:
        """The replica has done with the request: its slot may have the next."""
        slot, self._slot = self._slot, None
        if slot is not None:
            self._pool.keep(slot)
        self._end()

    def _end(self) -> None:
        self.ended = True
        self._came.set()
        self._ending.comes()


@asynccontextmanager
async def _nothing_to_do(answer: ConnectionAnswer) -> AsyncIterator[Pieces]:
    yield answer
