"""Splits the time of a request into the gateway's own and everybody else's."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Runs from its making on. Seconds."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._elsewhere = 0.0
        self._paused_at: float | None = None

    def pause(self) -> None:
        """From here on somebody else works: the client that uploads, or the engine."""
        self._paused_at = time.perf_counter()

    def resume(self) -> None:
        if self._paused_at is not None:
            self._elsewhere += time.perf_counter() - self._paused_at
            self._paused_at = None

    def outside(self, wait: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
        """`wait`, whose time is somebody else's."""

        async def waiting() -> T:
            self.pause()
            try:
                return await wait()
            finally:
                self.resume()

        return waiting

    def total(self) -> float:
        return time.perf_counter() - self._start

    def own(self) -> float:
        self.resume()
        return self.total() - self._elsewhere
