"""The connections of one gateway replica to the replicas of models: its end of `contract.frames`."""

import asyncio
import contextvars
import secrets
from collections.abc import Callable
from typing import Protocol

from contract.frame_connection import FrameConnection
from contract.frames import NONCE_BYTES, PROOF_BYTES, FrameError, Kind, is_proof, proof
from contract.protocol import Slot

CONNECT_SECONDS = 10.0  # for a connection to be made and both ends to have proven themselves


class SlotUser(Protocol):
    """Whom the frames of a slot are for."""

    def frame_received(self, kind: int, payload: bytes) -> None:
        """Raises FrameError."""

    def lost(self) -> None:
        """No frame will come any more."""


class ReplicaConnection(FrameConnection):
    """One connection to a replica: the frames of all slots that are held there."""

    def __init__(self, secret: bytes, when_lost: Callable[[], None]) -> None:
        super().__init__()
        self._when_lost = when_lost
        self.ready: asyncio.Future[None] = self._loop.create_future()  # once the replica has proven itself
        self._secret = secret
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._users: dict[int, SlotUser] = {}

    def join(self, slot: int, user: SlotUser) -> None:
        """From now on the frames of `slot` are for `user`, until `leave`."""
        self._users[slot] = user

    def leave(self, slot: int) -> None:
        self._users.pop(slot, None)

    def frame_received(self, kind: int, slot: int, payload: bytes) -> None:
        user = self._users.get(slot)
        if not self.ready.done():
            self._prove(kind, payload)
        elif user is not None:  # else it was left while they were on their way
            user.frame_received(kind, payload)

    def lost(self) -> None:
        self._when_lost()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the replica closed the connection"))
            self.ready.exception()  # it may be that nobody waits for it any more
        users, self._users = self._users, {}
        for user in users.values():
            user.lost()

    def _prove(self, kind: int, payload: bytes) -> None:
        if kind == Kind.NONCE:
            self.send(Kind.PROOF, 0, proof(self._secret, "gateway", payload) + self._nonce)
        elif kind == Kind.PROOF and is_proof(payload[:PROOF_BYTES], self._secret, "replica", self._nonce):
            self.ready.set_result(None)
        else:
            raise FrameError("it is not the replica")


class ReplicaConnections:
    """One connection to each replica, made when its first slot is held. They outlive a change of the configuration."""

    def __init__(self) -> None:
        self._connecting: dict[bytes, asyncio.Task[ReplicaConnection]] = {}  # by the replica's secret

    async def to(self, slot: Slot) -> ReplicaConnection:
        """The connection to the replica of `slot`. Raises OSError, TimeoutError."""
        task = self._connecting.get(slot.secret)
        if task is None:
            # It outlives the request that needs it first, so no line of it is that request's.
            work = asyncio.create_task(self._connect(slot), context=contextvars.Context())
            task = self._connecting[slot.secret] = work
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _connect(self, slot: Slot) -> ReplicaConnection:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()

        def forget() -> None:
            if self._connecting.get(slot.secret) is task:
                del self._connecting[slot.secret]

        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: ReplicaConnection(slot.secret, forget), slot.host, slot.port
                )
                try:
                    await connection.ready
                except BaseException:
                    connection.close()
                    raise
        except BaseException:
            forget()
            raise
        return connection


def _retrieve(task: "asyncio.Task[ReplicaConnection]") -> None:
    """Who waited for it may have left; then asyncio would log its exception."""
    if not task.cancelled():
        task.exception()
