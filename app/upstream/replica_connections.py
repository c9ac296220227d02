"""The connections of one gateway replica to the replicas of models: its end of `contract.frames`."""

import asyncio
import secrets
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

    def __init__(self, secret: bytes) -> None:
        super().__init__()
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
        if task is None or (task.done() and not _is_good(task)):
            task = self._connecting[slot.secret] = asyncio.create_task(_connect(slot))
            task.add_done_callback(lambda done: self._watch(slot.secret, done))
        return await asyncio.shield(task)

    def _watch(self, secret: bytes, task: "asyncio.Task[ReplicaConnection]") -> None:
        """Forget what fails, and what ends."""
        if _is_good(task):
            task.result().join(0, _Forgetting(self._connecting, secret, task))
        elif self._connecting.get(secret) is task:
            del self._connecting[secret]


class _Forgetting:
    """Forgets a connection when it is lost. It sits at the slot 0, which is nobody's."""

    def __init__(
        self,
        connecting: dict[bytes, "asyncio.Task[ReplicaConnection]"],
        secret: bytes,
        task: "asyncio.Task[ReplicaConnection]",
    ) -> None:
        self._connecting, self._secret, self._task = connecting, secret, task

    def frame_received(self, kind: int, _: bytes) -> None:
        raise FrameError(f"a replica does not send frames of the kind {kind}")

    def lost(self) -> None:
        if self._connecting.get(self._secret) is self._task:
            del self._connecting[self._secret]


def _is_good(task: "asyncio.Task[ReplicaConnection]") -> bool:
    return not task.cancelled() and task.exception() is None and task.result().is_open


async def _connect(slot: Slot) -> ReplicaConnection:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        _, connection = await loop.create_connection(lambda: ReplicaConnection(slot.secret), slot.host, slot.port)
        try:
            await connection.ready
        except BaseException:
            connection.close()
            raise
    return connection
