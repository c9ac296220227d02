"""What the engine has sent of a stream and the client has not yet taken: bounded in bytes."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from contract.errors import ApiError

UNSLOWED_FACTOR = 4  # an engine that nothing slows down may be further ahead: it is often faster than any client
WRITE_BYTES = 64 * 1024  # that pieces are joined to at the most, where the client lags


class StreamBuffer:
    """One task fills it, another takes from it. Once it is full no more is read, until the client has taken some.

    Serve's handle then slows the replica down where it goes over gRPC. Over Ray's actors nothing does, and what is not
    read here waits in Ray without a bound: there all is read, and too much of it is an overflow.
    """

    def __init__(self, limit_bytes: int, overflow: Callable[[], None] | None = None) -> None:
        """`overflow` is called, and nothing more read, where the engine cannot be slowed down and is too far ahead."""
        self._limit_bytes = limit_bytes if overflow is None else UNSLOWED_FACTOR * limit_bytes
        self._overflow = overflow
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._came = asyncio.Event()  # a piece, the end, or a call to wake up
        self._has_room = asyncio.Event()
        self._has_room.set()
        self.ended = False

    async def fill(self, pieces: AsyncGenerator[bytes]) -> None:
        """Take all `pieces` in. Raises what they raise."""
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    self._pieces.append(piece)
                    self._bytes += len(piece)
                    self._came.set()
                    if self._bytes >= self._limit_bytes:
                        if self._overflow is not None:
                            self._overflow()
                        self._has_room.clear()
                    await asyncio.sleep(0)  # who takes comes first: only what it cannot write at once is joined
                    await self._has_room.wait()
        finally:
            self.ended = True
            self._came.set()

    async def wait(self) -> None:
        """Wait for a piece, for the end, or for `wake`."""
        await self._came.wait()

    def wake(self) -> None:
        self._came.set()

    def take(self) -> bytes:
        """The next pieces, as many as one write should hold, each whole; empty where there is none now."""
        taken = joined(self._pieces)
        self._bytes -= len(taken)
        if self._bytes < self._limit_bytes:
            self._has_room.set()
        if not self._pieces and not self.ended:
            self._came.clear()
        return taken


def joined(pieces: deque[bytes]) -> bytes:
    """The first of `pieces`, as many as one write should hold, each whole. They are removed."""
    if len(pieces) == 1:  # nearly always
        return pieces.popleft()
    taken: list[bytes] = []
    size = 0
    while pieces and (not taken or size + len(pieces[0]) <= WRITE_BYTES):
        taken.append(pieces.popleft())
        size += len(taken[-1])
    return b"".join(taken)


@asynccontextmanager
async def filled(
    pieces: AsyncGenerator[bytes], limit_bytes: int, overflow: Callable[[], None] | None
) -> AsyncIterator[StreamBuffer]:
    """A buffer that is filled with `pieces` until the end of the block; an ApiError that they raise only ends them."""
    buffer = StreamBuffer(limit_bytes, overflow)
    filling = asyncio.create_task(buffer.fill(pieces))
    try:
        yield buffer
    finally:
        filling.cancel()
        (failure,) = await asyncio.gather(filling, return_exceptions=True)
    if isinstance(failure, Exception) and not isinstance(failure, ApiError):
        raise failure
