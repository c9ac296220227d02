"""The slots of one model that a gateway replica holds: each for one request after the other.

To hold a slot costs a call over Serve's handle, which is far more than a request over a connection. So a slot whose
request has ended is kept for a moment, for the next request: long enough for a client that sends one request after the
other, and no longer, for Serve counts it as an ongoing request all the while. Once it is old it is given back, so that
what Serve decides anew, such as which replica is the least busy or which one ends, is followed soon.
"""

import asyncio
import contextvars
import logging
from typing import Any

from app.upstream.replica_connections import ReplicaConnection, ReplicaConnections, SlotUser
from app.upstream.serve_failure import ReplicaLost, failure_of
from contract.errors import ApiError
from contract.frames import Kind
from contract.protocol import Slot, SlotRequest

logger = logging.getLogger("portico.slots")

IDLE_SECONDS = 0.025  # that a slot without a request is kept
MOST_SECONDS = 1.0  # that one is held before it is given back after its request


class OpenSlot:
    """One slot that is held. It is lost where the connection is, or where Serve ends its call."""

    def __init__(self, number: int, connection: ReplicaConnection, call: "SlotCall") -> None:
        self.connection = connection
        self.number = number
        self.idle_since = self.held_since = asyncio.get_running_loop().time()
        self.is_open = True
        self._call = call
        self._user: SlotUser | None = None
        connection.join(number, self)
        call.when_over(self.lost)

    def use(self, user: SlotUser) -> None:
        """From now on what comes is for `user`."""
        self._user = user

    def frame_received(self, kind: int, payload: bytes) -> None:
        """Raises FrameError."""
        if kind == Kind.GONE:
            self.lost()
        elif self._user is not None:
            self._user.frame_received(kind, payload)

    def lost(self) -> None:
        if self.is_open:
            self._end()
            if self._user is not None:
                self._user.lost()

    def give_back(self) -> None:
        """It is not needed any more; what is under way there is cancelled."""
        if self.is_open:
            self.connection.send(Kind.END, self.number)
            self._end()

    def _end(self) -> None:
        self.is_open = False
        self.connection.leave(self.number)
        if not self.connection.is_open:
            self._call.cancel()  # nothing else tells the replica


class SlotCall:
    """The call over Serve's handle that is a slot, from its first word to its last.

    It outlives the request that it was made for, so it runs in a context of its own: Serve cancels what was called in
    a request's context when its client leaves.
    """

    def __init__(self, handle: Any, request: SlotRequest) -> None:
        self._slot: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(handle, request), context=contextvars.Context())

    async def slot(self) -> Slot:
        """Wait until Serve gives one. Raises ApiError, ReplicaLost."""
        return await self._slot

    def when_over(self, callback: Any) -> None:
        self._task.add_done_callback(lambda _: callback())

    def cancel(self) -> None:
        self._task.cancel()

    async def _run(self, handle: Any, request: SlotRequest) -> None:
        stream = handle.remote(request)
        try:
            slot = await anext(stream)
            if not self._slot.done():
                self._slot.set_result(slot)
            await anext(stream, None)
        except asyncio.CancelledError:
            stream.cancel()
            raise
        except Exception as error:
            if not self._slot.done():
                self._slot.set_exception(_failure_of(error))


class SlotPool:
    """The slots of one model."""

    def __init__(self, handle: Any, connections: ReplicaConnections) -> None:
        """`handle` is Serve's, of the model."""
        self._handle = handle.options(method_name="slot", stream=True)
        self._connections = connections
        self._idle: list[OpenSlot] = []  # the last one was used last
        self._sweep: asyncio.TimerHandle | None = None

    def idle(self) -> OpenSlot | None:
        """A slot that is held and has no request."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            slot = self._idle.pop()
            if slot.is_open and now - slot.held_since < MOST_SECONDS:
                return slot
            slot.give_back()
        return None

    async def hold(self, request: SlotRequest, session: str = "") -> OpenSlot:
        """Wait until Serve gives a slot. Raises ApiError, ReplicaLost."""
        handle = self._handle.options(session_id=session) if session else self._handle
        call = SlotCall(handle, request)
        try:
            slot = await call.slot()
            connection = await self._connections.to(slot)
            if not connection.is_open:  # it was lost in this very moment
                raise ConnectionError("the replica closed the connection")  # noqa: TRY301
        except (OSError, TimeoutError) as error:
            call.cancel()
            logger.warning("a replica's port cannot be reached from here: %s", error)
            raise ReplicaLost from None
        except BaseException:
            call.cancel()
            raise
        return OpenSlot(slot.number, connection, call)

    def keep(self, slot: OpenSlot) -> None:
        """Its request has ended well; another may have it."""
        loop = asyncio.get_running_loop()
        now = slot.idle_since = loop.time()
        if not slot.is_open or now - slot.held_since >= MOST_SECONDS:
            slot.give_back()
            return
        self._idle.append(slot)
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_SECONDS, self._give_back_idle)

    def _give_back_idle(self) -> None:
        loop = asyncio.get_running_loop()
        limit = loop.time() - IDLE_SECONDS
        kept = [slot for slot in self._idle if slot.idle_since > limit and slot.is_open]
        for slot in self._idle:
            if slot not in kept:
                slot.give_back()
        self._idle = kept
        oldest = min((slot.idle_since for slot in kept), default=None)
        self._sweep = None if oldest is None else loop.call_at(oldest + IDLE_SECONDS, self._give_back_idle)


def _failure_of(error: Exception) -> ApiError | ReplicaLost:
    """What `error`, for which Serve gave no slot, means. What no client can learn of it is logged."""
    failure = failure_of(error)
    if isinstance(failure, ApiError) and failure.code == "upstream_error":
        logger.warning("Serve gave no slot of a replica: %r", error)
    return failure
