"""One end of a connection between a gateway and a replica: frames in, frames out, many of them in one write."""

import asyncio
import logging
import socket
import struct
from abc import abstractmethod
from typing import cast

from contract.frames import FRAME, MAX_PAYLOAD_BYTES, PART_BYTES, FrameError, FrameSplitter, Kind

logger = logging.getLogger("portico.connections")

JOIN_SECONDS = 0.010  # that what may wait does wait at the most, where the last write was less than that ago
# A machine that is gone without a word is noticed after half a minute at the latest.
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}


class FrameConnection(asyncio.Protocol):
    """Frames that are sent in one turn of the event loop leave in one write."""

    def __init__(self, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        """`max_payload_bytes` bounds what may come until `allow` is called."""
        self.is_open = False
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._splitter = FrameSplitter(max_payload_bytes)
        self._out: list[bytes] = []
        self._flush_at: asyncio.Handle | None = None
        self._flush_waits = False  # whether that is later than the next turn
        self._flushed = 0.0  # when it last was
        self._has_room = asyncio.Event()
        self._has_room.set()

    @abstractmethod
    def frame_received(self, kind: int, slot: int, payload: bytes) -> None:
        """Raises FrameError."""

    @abstractmethod
    def lost(self) -> None:
        """The connection is closed, by whichever end."""

    def send(self, kind: Kind, slot: int, payload: bytes = b"", *, may_wait: bool = False) -> None:
        """Send one frame; nothing where the connection is closed. One that `may_wait` is joined to what comes soon."""
        if not self.is_open:
            return
        self._out.append(FRAME.pack(len(payload), kind, slot))
        if payload:
            self._out.append(payload)
        if self._flush_at is None:
            due = self._flushed + JOIN_SECONDS
            self._flush_waits = may_wait and self._loop.time() < due
            self._flush_at = (
                self._loop.call_at(due, self._flush) if self._flush_waits else self._loop.call_soon(self._flush)
            )
        elif self._flush_waits and not may_wait:
            self._flush_at.cancel()
            self._flush_waits = False
            self._flush_at = self._loop.call_soon(self._flush)

    async def send_parts(self, kind: Kind, slot: int, content: bytes | memoryview) -> None:
        """Send `content` as frames of that kind, no faster than the other end takes them."""
        if len(content) <= PART_BYTES:  # it leaves with what others send in this turn of the event loop
            self.send(kind, slot, bytes(content))
            await self._has_room.wait()
            return
        view = memoryview(content)
        for start in range(0, len(view), PART_BYTES):
            self.send(kind, slot, bytes(view[start : start + PART_BYTES]))
            await self.room()

    async def room(self) -> None:
        """Wait until the other end has taken most of what was sent, or the connection is closed."""
        if self._flush_at is not None:
            self._flush_at.cancel()
            self._flush()
        await self._has_room.wait()

    def allow(self, max_payload_bytes: int) -> None:
        """From the next frames on that are read, so large a payload may come."""
        self._splitter.max_payload_bytes = max_payload_bytes

    def close(self) -> None:
        if self.is_open:
            self._flush()
            self._transport.close()

    def _flush(self) -> None:
        self._flush_at = None
        if self._out and self.is_open:
            self._flushed = self._loop.time()
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.is_open = True
        keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        try:
            for kind, slot, payload in self._splitter.feed(data):
                self.frame_received(kind, slot, payload)
        except (FrameError, struct.error, ValueError, TypeError) as error:  # lengths, numbers, JSON that are none
            logger.warning("a connection between a gateway and a replica was cut: %s", error)
            self._transport.abort()

    def pause_writing(self) -> None:
        self._has_room.clear()

    def resume_writing(self) -> None:
        self._has_room.set()

    def connection_lost(self, _: Exception | None) -> None:
        self.is_open = False
        self._has_room.set()
        self.lost()


def keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if option := getattr(socket, name, None):  # not every system has each
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
