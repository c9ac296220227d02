"""Writes lines to a file descriptor in batches, on a thread: a reader that stalls holds no request up.

Each write has whole lines, as many as a pipe takes at once, so that those of several processes on one pipe do not mix.
"""

import atexit
import logging
import os
import sys
import threading
from collections import deque
from select import PIPE_BUF

logger = logging.getLogger("portico.log")

WRITE_SECONDS = 1.0  # that a line waits at the most
WRITE_BYTES = 64 * 1024  # that wait before they are written sooner
MAX_WAITING_BYTES = 8 * 1024 * 1024  # then lines are dropped: nobody reads
CLOSE_SECONDS = 2.0  # for what waits to be written at the end
STANDARD_OUTPUT = 1


def standard_output() -> "LineWriter":
    """For the process's own; Serve may have put its logger in place of sys.stdout."""
    return LineWriter(STANDARD_OUTPUT if sys.__stdout__ is None else sys.__stdout__.fileno())


class LineWriter:
    """Lines for one file descriptor, from one thread. Those written before `start` wait for it."""

    def __init__(self, descriptor: int, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._descriptor = descriptor
        self._max_waiting_bytes = max_waiting_bytes
        self._lines: deque[bytes] = deque()
        # Each is changed by one of the two threads only.
        self._taken = self._dropped = 0  # bytes; lines
        self._done = self._reported = 0
        self._due = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="line writer", daemon=True)

    def start(self) -> None:
        self._thread.start()
        atexit.register(self.close)

    def write(self, line: bytes) -> None:
        """Have `line`, which ends in a line feed, written within a second. It is dropped where too much waits."""
        waiting = self._taken - self._done + len(line)
        if waiting > self._max_waiting_bytes:
            self._dropped += 1
            return
        self._lines.append(line)
        self._taken += len(line)
        if waiting >= WRITE_BYTES:
            self._due.set()

    def close(self) -> None:
        """Write what waits, in so far as a reader takes it within two seconds. No line may follow."""
        atexit.unregister(self.close)
        self._closing = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closing:
            self._due.wait(WRITE_SECONDS)
            self._due.clear()
            self._write_all()
        self._write_all()  # what came between the last write and the end

    def _write_all(self) -> None:
        while self._lines:
            batch = [self._lines.popleft()]
            size = len(batch[0])
            while self._lines and size + len(self._lines[0]) <= PIPE_BUF:
                batch.append(self._lines.popleft())
                size += len(batch[-1])
            try:
                write_whole(self._descriptor, b"".join(batch))
            except OSError as error:  # nobody will ever read it, or a disk is full
                logger.warning("%d lines of the log are lost: %s", len(batch), error)
            self._done += size
        if (dropped := self._dropped) > self._reported:
            logger.warning("%d lines of the log were dropped: its reader stalls", dropped - self._reported)
            self._reported = dropped


def write_whole(descriptor: int, text: bytes) -> None:
    """All of `text`. Raises OSError."""
    left = memoryview(text)
    while left:
        left = left[os.write(descriptor, left) :]
