"""The slots of one model that a gateway replica holds: each for one request after the other.

To hold a slot costs a call over Serve's handle, which is far more than a request over a connection. So a slot whose
request has ended goes to one that waits for a slot, or is kept for a moment for the next one: long enough for a client
that sends one request after the other, and no longer, for Serve counts it as an ongoing request all the while. Once it
is old it is given back, so that what Serve decides anew, such as which replica is the least busy or which one ends, is
followed soon.
"""

import asyncio
import contextvars
import logging
import random
from collections import deque
from contextlib import suppress
from typing import Any

from app.upstream.replica_connections import ReplicaConnection, ReplicaConnections, SlotUser
from app.upstream.serve_failure import ReplicaLost, failure_of
from contract.errors import ApiError
from contract.frames import Kind
from contract.protocol import Slot, SlotRequest

logger = logging.getLogger("portico.slots")

IDLE_SECONDS = 0.025  # that a slot without a request is kept
MOST_SECONDS = 2.0  # that one is held before it is given back after its request; half of it at the least


class OpenSlot:
    """One slot that is held. It is lost where the connection is, or where Serve ends its call."""

    def __init__(self, number: int, connection: ReplicaConnection, call: "SlotCall") -> None:
        self.connection = connection
        self.number = number
        self._loop = asyncio.get_running_loop()
        self.idle_since = self._loop.time()
        # Not all that were taken together are given back together: Serve is slow to give many at once.
        self._old_at = self.idle_since + MOST_SECONDS * random.uniform(0.5, 1)  # noqa: S311 - no secret
        self.is_open = True
        self._call = call
        self._user: SlotUser | None = None
        connection.join(number, self)
        call.when_over(self.lost)

    def is_old(self) -> bool:
        """Whether it is for no further request."""
        return not self.is_open or self._loop.time() >= self._old_at

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

    def __init__(self, handle: Any, request: SlotRequest, connections: ReplicaConnections) -> None:
        self._connections = connections
        self._slot: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._given = False
        self._task = asyncio.create_task(self._run(handle, request), context=contextvars.Context())

    async def slot(self) -> Slot:
        """Wait until Serve gives one. Raises ApiError, ReplicaLost."""
        return await self._slot

    def refuse(self, error: ApiError) -> None:
        """Wait for a slot no longer: `slot` raises `error`."""
        if not self._slot.done():
            self._slot.set_exception(error)
            self._slot.exception()  # who waited may leave in this moment

    def when_over(self, callback: Any) -> None:
        self._task.add_done_callback(lambda _: callback())

    def cancel(self) -> None:
        self._task.cancel()

    async def _run(self, handle: Any, request: SlotRequest) -> None:
        stream = handle.remote(request)
        first: asyncio.Future[Slot] = asyncio.ensure_future(anext(stream))
        try:
            slot = await asyncio.shield(first)
            if not self._slot.done():
                self._slot.set_result(slot)
                self._given = True
            await anext(stream, None)
        except asyncio.CancelledError:
            stream.cancel()
            if not self._given:
                await self._give_back(first)
            raise
        except Exception as error:
            if not self._slot.done():
                self._slot.set_exception(_failure_of(error))

    async def _give_back(self, first: asyncio.Future[Slot]) -> None:
        """Serve cancels no call that a replica has taken in this very moment: then a slot comes all the same, and the
        replica would keep it for ever.
        """
        with suppress(Exception, asyncio.CancelledError):
            slot = await first
            (await self._connections.to(slot)).send(Kind.END, slot.number)


class SlotPool:
    """The slots of one model.

    A request that finds none waits for whichever comes first: one that another request has left, or one of Serve's.
    There is one call to Serve for each that waits, not for each that comes: one that waits no longer leaves its call to
    the next.
    """

    def __init__(self, handle: Any, connections: ReplicaConnections) -> None:
        """`handle` is Serve's, of the model."""
        self._handle = handle.options(method_name="slot", stream=True)
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._idle: list[OpenSlot] = []  # the last one was used last
        self._waiting: deque[asyncio.Future[OpenSlot]] = deque()
        self._calls: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._calls_soon = False
        self._asking: set[SlotCall] = set()  # that have no slot yet
        self._sweep: asyncio.TimerHandle | None = None

    async def take(self) -> OpenSlot:
        """Wait for a slot of any replica. Raises ApiError, ReplicaLost."""
        while True:
            slot = self._take_idle() or await self._wait()
            if slot.is_open:  # else it was lost on its way
                return slot

    async def hold(self, request: SlotRequest, session: str = "") -> OpenSlot:
        """Wait until Serve gives a slot for just this request. Raises ApiError, ReplicaLost."""
        handle = self._handle.options(session_id=session) if session else self._handle
        call = SlotCall(handle, request, self._connections)
        try:
            slot = await self._slot_of(call)
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

    def refuse_waiting(self, error: ApiError) -> None:
        """Have all that wait for a slot of Serve's raise `error`."""
        for call in self._asking:
            call.refuse(error)

    def keep(self, slot: OpenSlot) -> None:
        """Its request has ended well; another may have it."""
        if slot.is_old():
            slot.give_back()
        else:
            self._offer(slot)

    async def _slot_of(self, call: SlotCall) -> Slot:
        self._asking.add(call)
        try:
            return await call.slot()
        finally:
            self._asking.discard(call)

    def _take_idle(self) -> OpenSlot | None:
        while self._idle:
            slot = self._idle.pop()
            if not slot.is_old():
                return slot
            slot.give_back()
        return None

    async def _wait(self) -> OpenSlot:
        waiting: asyncio.Future[OpenSlot] = self._loop.create_future()
        self._waiting.append(waiting)
        self._call_soon()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.cancelled():
                with suppress(ValueError):  # it was passed over already
                    self._waiting.remove(waiting)
                self._cancel_calls()
            elif waiting.exception() is None:  # the slot came as the request left
                self.keep(waiting.result())
            raise

    def _offer(self, slot: OpenSlot) -> None:
        """Give `slot` to who has waited longest, or keep it for a moment."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(slot)
                break
        else:
            slot.idle_since = self._loop.time()
            self._idle.append(slot)
        if self._sweep is None:
            self._sweep = self._loop.call_later(IDLE_SECONDS, self._give_back_idle)

    def _call_soon(self) -> None:
        """Ask Serve after what has come in this turn of the event loop is seen: a slot may be left among that."""
        if not self._calls_soon:
            self._calls_soon = True
            self._loop.call_soon(self._loop.call_soon, self._call_where_needed)

    def _call_where_needed(self) -> None:
        """Make one call; the next one in another turn, so that answers that come meanwhile leave their slots."""
        self._calls_soon = False
        if len(self._calls) < len(self._waiting):
            # In no request's context: Serve cancels what was called there when the client leaves.
            call = asyncio.create_task(self._call(), context=contextvars.Context())
            self._calls[call] = None
            call.add_done_callback(self._ended)
            self._call_soon()

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.pop(call, None)
        if len(self._calls) < len(self._waiting):
            self._call_soon()

    async def _call(self) -> None:
        try:
            self._offer(await self.hold(SlotRequest()))
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Tell who came last, as Serve refuses who comes last."""
        while self._waiting:
            waiting = self._waiting.pop()
            if not waiting.done():
                waiting.set_exception(error)
                return

    def _cancel_calls(self) -> None:
        """Cancel those that nobody waits for: Serve counts each as a request."""
        for call in list(self._calls)[len(self._waiting) :]:
            del self._calls[call]  # at once: who comes before it has ended needs another
            call.cancel()

    def _give_back_idle(self) -> None:
        limit = self._loop.time() - IDLE_SECONDS
        kept = [slot for slot in self._idle if slot.idle_since > limit and slot.is_open]
        for slot in self._idle:
            if slot not in kept:
                slot.give_back()
        self._idle = kept
        self._cancel_calls()
        self._sweep = self._loop.call_at(kept[0].idle_since + IDLE_SECONDS, self._give_back_idle) if kept else None


def _failure_of(error: Exception) -> ApiError | ReplicaLost:
    """What `error`, for which Serve gave no slot, means. What no client can learn of it is logged."""
    failure = failure_of(error)
    if isinstance(failure, ApiError) and failure.code == "upstream_error":
        logger.warning("Serve gave no slot of a replica: %r", error)
    return failure
