"""The slots of a replica, and the connections over which gateways use them: the replica's end of `contract.frames`.

Serve chooses the replica, counts, queues, scales and drains: a slot is a call over Serve's handle that lasts as long as
a gateway holds the slot. Requests and answers pass on a connection of their own, which costs a fraction of a handle's.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

from contract.frame_connection import FrameConnection
from contract.frames import (
    MAX_PAYLOAD_BYTES,
    NONCE_BYTES,
    NUMBER,
    PART_BYTES,
    PROOF_BYTES,
    REQUEST,
    FrameError,
    Kind,
    is_proof,
    parse_request_head,
    proof,
    response_head,
    response_tail,
)
from contract.protocol import RequestHead, ResponseHead, ResponseItem, ResponseTail, Slot
from contract.replica_port import node_address

logger = logging.getLogger("portico.slots")

Answer = Callable[[RequestHead, bytes], AsyncGenerator[ResponseItem]]
PROOF_SECONDS = 10.0  # for who connects to show that it is a gateway
UNUSED_SECONDS = 30.0  # for a gateway to send the first request in a slot that it got: it does so at once


class Slots:
    """All slots of one replica that gateways hold now. It listens once the first is asked for."""

    def __init__(self) -> None:
        self.secret = secrets.token_bytes(NONCE_BYTES)
        self._held: dict[int, HeldSlot] = {}
        self._last = 0
        self._server: asyncio.Server | None = None
        self._listening: asyncio.Task[tuple[str, int]] | None = None
        self._connections: set[GatewayConnection] = set()

    async def hold(self, answer: Answer) -> AsyncGenerator[Slot]:
        """One slot, until the gateway gives it back; closing this generator takes it away. The work there has ended.

        `answer` is the replica's. Nothing keeps it beside the slots.
        """
        host, port = await self._address()
        self._last = number = self._last + 1
        self._held[number] = slot = HeldSlot(number, answer)
        unused = asyncio.get_running_loop().call_later(UNUSED_SECONDS, slot.end_unused)
        try:
            yield Slot(host, port, self.secret, number)
            await slot.over.wait()
        finally:
            unused.cancel()
            await slot.stop()
            del self._held[number]

    def find(self, number: int) -> "HeldSlot | None":
        """The slot of that number, where a gateway still has it."""
        slot = self._held.get(number)
        return None if slot is None or slot.over.is_set() else slot

    def joined(self, connection: "GatewayConnection") -> None:
        self._connections.add(connection)

    def left(self, connection: "GatewayConnection") -> None:
        """What was under way for that gateway is cancelled."""
        self._connections.discard(connection)
        for slot in self._held.values():
            if slot.connection is connection:
                slot.end()

    def close(self) -> None:
        """Listen no more, and let no connection go on."""
        if self._server is not None:
            with suppress(RuntimeError):  # its event loop is closed
                self._server.close()
        for connection in list(self._connections):
            connection.close()

    async def _address(self) -> tuple[str, int]:
        """Where this listens, from the first call on."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        return await asyncio.shield(self._listening)

    async def _listen(self) -> tuple[str, int]:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: GatewayConnection(self), node_address(), 0)
        host, port, *_ = self._server.sockets[0].getsockname()
        return host, port


class HeldSlot:
    """One slot and the request that is under way there, if one is."""

    def __init__(self, number: int, answer: Answer) -> None:
        self.number = number
        self._answer = answer
        self.over = asyncio.Event()
        self.connection: GatewayConnection | None = None
        self._work: asyncio.Task[None] | None = None
        self._head_bytes = 0
        self._parts: list[bytes] = []
        self._missing = 0  # bytes of the request under way
        self._credit = 0
        self._has_credit = asyncio.Event()

    def begin(self, connection: "GatewayConnection", payload: bytes) -> None:
        """A request comes. Raises FrameError where another is coming already."""
        if self._missing:
            raise FrameError("a slot takes one request after the other")
        self.connection = connection
        self._head_bytes, body_bytes, self._credit = REQUEST.unpack(payload)
        self._missing = self._head_bytes + body_bytes
        self._parts.clear()
        self._has_credit.set()

    def take(self, part: bytes) -> None:
        """A part of the request; with the last one the work begins. Raises FrameError."""
        self._missing -= len(part)
        if self._missing < 0 or self.connection is None:
            raise FrameError("more than was announced")
        self._parts.append(part)
        if not self._missing:
            content = b"".join(self._parts)
            self._parts.clear()
            head = parse_request_head(memoryview(content)[: self._head_bytes])
            items = self._answer(head, content[self._head_bytes :])
            self._work = asyncio.create_task(self._work_on(items, self.connection, after=self._work))

    def grant(self, size: int) -> None:
        """The gateway has taken `size` bytes."""
        self._credit += size
        if self._credit > 0:
            self._has_credit.set()

    def end(self) -> None:
        """The gateway gives the slot back. What is under way there is cancelled, once: an engine may take its time."""
        if not self.over.is_set() and self._work is not None:
            self._work.cancel()
        self.over.set()

    def end_unused(self) -> None:
        """End it where no gateway has ever used it: the word of it was lost on the way."""
        if self.connection is None:
            self.end()

    async def stop(self) -> None:
        """End it, tell the gateway where it does not know, and wait until the work has ended."""
        if not self.over.is_set() and self.connection is not None:
            self.connection.send(Kind.GONE, self.number)
        self.end()
        if self._work is not None:
            await asyncio.wait([self._work])

    async def _work_on(
        self, items: AsyncGenerator[ResponseItem], connection: "GatewayConnection", after: "asyncio.Task[None] | None"
    ) -> None:
        """Send all `items`. The gateway has the last of the request before, whose work may take a moment to end."""
        if after is not None and not after.done():
            await _ended(after)
        is_whole = False
        try:
            async with aclosing(items):
                async for item in items:
                    await self._send(item, connection)
                    head = isinstance(item, ResponseHead) and (item.body is not None or item.error is not None)
                    is_whole = head or isinstance(item, ResponseTail)
        except Exception:  # the connection goes on for others
            logger.exception("an answer could not be sent")
        if not is_whole:
            connection.send(Kind.GONE, self.number)
            self.over.set()

    async def _send(self, item: ResponseItem, connection: "GatewayConnection") -> None:
        if isinstance(item, bytes):
            await self._send_data(item, connection)
        elif isinstance(item, ResponseHead):
            connection.send(Kind.HEAD, self.number, _bounded(response_head(item)))
            if item.body is not None:
                await self._send_data(item.body, connection)
        elif isinstance(item, ResponseTail):
            connection.send(Kind.TAIL, self.number, _bounded(response_tail(item)))

    async def _send_data(self, data: bytes, connection: "GatewayConnection") -> None:
        if self._credit > 0 and len(data) <= PART_BYTES:  # nearly always
            self._credit -= len(data)
            connection.send(Kind.DATA, self.number, data, may_wait=True)
            return
        view = memoryview(data)
        for start in range(0, len(view), PART_BYTES):
            while self._credit <= 0:
                self._has_credit.clear()
                await self._has_credit.wait()
            part = bytes(view[start : start + PART_BYTES])
            self._credit -= len(part)
            connection.send(Kind.DATA, self.number, part)
            await connection.room()


class GatewayConnection(FrameConnection):
    """A connection of one gateway replica."""

    def __init__(self, slots: Slots) -> None:
        super().__init__(max_payload_bytes=NONCE_BYTES + PROOF_BYTES)
        self._slots = slots
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._is_proven = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._slots.joined(self)
        self._timer = self._loop.call_later(PROOF_SECONDS, self.close)
        self.send(Kind.NONCE, 0, self._nonce)

    def frame_received(self, kind: int, slot: int, payload: bytes) -> None:
        if not self._is_proven:
            self._prove(kind, payload)
            return
        held = self._slots.find(slot)
        if held is None:
            if kind == Kind.REQUEST:
                self.send(Kind.GONE, slot)  # taken away meanwhile; what follows of the request is dropped
        elif kind == Kind.BODY:
            held.take(payload)
        elif kind == Kind.REQUEST:
            held.begin(self, payload)
        elif kind == Kind.CREDIT:
            held.grant(NUMBER.unpack(payload)[0])
        elif kind == Kind.END:
            held.end()
        else:
            raise FrameError(f"a gateway does not send frames of the kind {kind}")

    def lost(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._slots.left(self)

    def _prove(self, kind: int, payload: bytes) -> None:
        """Let a gateway in. Raises FrameError for anybody else."""
        given, nonce = payload[:PROOF_BYTES], payload[PROOF_BYTES:]
        if kind != Kind.PROOF or not is_proof(given, self._slots.secret, "gateway", self._nonce):
            raise FrameError("it does not know the secret")
        if self._timer is not None:
            self._timer.cancel()
        self._is_proven = True
        self.allow(MAX_PAYLOAD_BYTES)
        self.send(Kind.PROOF, 0, proof(self._slots.secret, "replica", nonce))


async def _ended(work: "asyncio.Task[None]") -> None:
    """Wait until `work` has ended; it is cancelled with who waits for it."""
    try:
        await asyncio.wait([work])
    except asyncio.CancelledError:
        work.cancel()
        await asyncio.wait([work])
        raise


def _bounded(payload: bytes) -> bytes:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"the head of an answer has {len(payload)} bytes, and {MAX_PAYLOAD_BYTES} are allowed")
    return payload
