"""A gateway's end and a replica's end of connections, in one process, with a stand-in for Serve between them."""

import asyncio
import copy
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from app.upstream.connection_carrier import ConnectionAnswer, ConnectionCarrier
from app.upstream.replica_connections import ReplicaConnections
from contract.protocol import RequestHead, ResponseHead, ResponseItem, ResponseTail, Slot, SlotRequest
from deployments.slots import Slots

HEAD = RequestHead("/v1/chat/completions", "id", include_usage=False, echo={})
WINDOW_BYTES = 200_000
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
Engine = Callable[[RequestHead, bytes], AsyncGenerator[ResponseItem]]


class Call:
    """A streaming call of a handle. A task of its own runs the generator, as at Serve's replica."""

    def __init__(self, items: AsyncGenerator[Any]) -> None:
        self._items = items
        self._came: asyncio.Queue[Any] = asyncio.Queue()
        self._assigned: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # to the replica
        self._is_known = False  # to who has called, that it was assigned
        self.when_assigned: Callable[[], None] = lambda: None
        self._task = asyncio.create_task(self._run())

    def __aiter__(self) -> "Call":
        return self

    async def __anext__(self) -> Any:
        if not self._is_known:
            await self._assigned
            self._is_known = True
        if isinstance(item := await self._came.get(), Exception):
            raise item
        return item

    def is_over(self) -> bool:
        return self._task.done()

    def cancel(self) -> None:
        """As Serve does where its router is on this event loop: what was assigned, and is not known to be, goes on."""
        if self._is_known or not self._assigned.done() or self._assigned.cancelled():
            self._assigned.cancel()
            self._task.cancel()

    async def _run(self) -> None:
        try:
            async with aclosing(self._items) as items:
                async for item in items:
                    self._put(item)
        except Exception as error:
            self._put(error)
        finally:
            self._put(StopAsyncIteration())

    def _put(self, item: Any) -> None:
        if not self._assigned.done():
            self._assigned.set_result(None)
            self.when_assigned()
        self._came.put_nowait(item)


class Handle:
    """Serve's handle of a model with one replica, for the methods `handle` and `slot` of that."""

    def __init__(self, slots: Slots, engine: Engine) -> None:
        self.slots, self.engine = slots, engine
        self.method = ""
        self.requests: list[SlotRequest] = []  # one for each slot that was asked for
        self.given_options: list[dict[str, Any]] = []
        self.calls: list[Call] = []
        self.gives_slots = asyncio.Event()
        self.gives_slots.set()
        self.refusals: list[Exception] = []  # for the next slots that are asked for

    def options(self, **options: Any) -> "Handle":
        """The lists are shared by all that are made of one."""
        self.given_options.append(options)
        made = copy.copy(self)
        made.method = options.get("method_name", self.method)
        return made

    def remote(self, request: Any, body: bytes = b"") -> Call:
        if self.method == "slot":
            self.requests.append(request)
            self.calls.append(Call(self._slot()))
        else:
            self.calls.append(Call(self.engine(request, body)))
        return self.calls[-1]

    async def _slot(self) -> AsyncGenerator[Slot]:
        await self.gives_slots.wait()
        if self.refusals:
            raise self.refusals.pop()
        async with aclosing(self.slots.hold(self.engine)) as slots:
            async for slot in slots:
                yield slot


class Replica:
    """A replica whose engine is a function, and the way to it."""

    def __init__(self, engine: Engine, window_bytes: int = WINDOW_BYTES) -> None:
        self.slots = Slots()
        self.handle = Handle(self.slots, engine)
        self.connections = ReplicaConnections()
        self.carrier = ConnectionCarrier({"alpha": self.handle}, self.connections, window_bytes)

    def attempt(self, body: bytes = b"{}", head: RequestHead = HEAD) -> ConnectionAnswer:
        return self.carrier.attempt("alpha", head, body)

    async def answer(self, body: bytes = b"{}", head: RequestHead = HEAD) -> ConnectionAnswer:
        answer = self.attempt(body, head)
        await answer.start()
        return answer


async def read(answer: ConnectionAnswer) -> bytes:
    """All of a stream."""
    taken = []
    async with answer.reading(lambda: None) as pieces:
        while True:
            if piece := pieces.take():
                taken.append(piece)
            elif pieces.ended:
                return b"".join(taken)
            else:
                await pieces.wait()


class Echo:
    """An engine that answers with the body it got: whole, or in `pieces`. It remembers what it was asked."""

    def __init__(self, pieces: int = 0) -> None:
        self.pieces = pieces
        self.heads: list[RequestHead] = []

    async def __call__(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        self.heads.append(request)
        if not self.pieces:
            yield ResponseHead(200, body=body, usage=USAGE, clamped=(("max_tokens", 9, 3),))
            return
        yield ResponseHead(200, "text/event-stream")
        for _ in range(self.pieces):
            yield body
        yield ResponseTail(USAGE)


class Held:
    """An engine that waits for `go_on` or to be cancelled: after a head and a first piece, or before (`begins`)."""

    def __init__(self, *, begins: bool = True) -> None:
        self.begins = begins
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        try:
            self.entered.set()
            if self.begins:
                yield ResponseHead(200, "text/event-stream")
                yield b"data: 1\n\n"
            await self.go_on.wait()
            if not self.begins:
                yield ResponseHead(200, "text/event-stream")
            yield ResponseTail()
        finally:
            self.left.set()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)
