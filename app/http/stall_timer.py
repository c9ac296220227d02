"""Bounds each of many waits for a reader, with one timer for all of them: a stream waits thousands of times."""

import asyncio
from types import TracebackType


class ReaderStalled(Exception):
    """The client has taken nothing of its response for too long."""


class StallTimer:
    """A context for each wait, one after the other, which raises ReaderStalled where that one takes too long.

    The timer is not set anew for each wait: where it rings too early for the wait that is under way, it is set again.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None  # which waits now
        self._until = 0.0
        self._cancelling = 0  # how often that task was cancelled before
        self._gave_up = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = self._task = asyncio.current_task()
        self._cancelling = task.cancelling() if task else 0
        self._until = loop.time() + self._timeout_s
        if self._timer is None:
            self._timer = loop.call_at(self._until, self._ring, loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if not self._gave_up or task is None:
            return
        self._gave_up = False
        if (
            task.uncancel() <= self._cancelling and kind is asyncio.CancelledError
        ):  # else somebody else cancelled it too
            raise ReaderStalled from None

    def give_up(self) -> None:
        """Let the wait that is under way, if one is, raise ReaderStalled now."""
        if self._task is not None and not self._gave_up:
            self._gave_up = True
            self._task.cancel()

    def close(self) -> None:
        """No wait follows."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._task is None:
            return  # the next wait sets it
        if loop.time() < self._until:
            self._timer = loop.call_at(self._until, self._ring, loop)
        else:
            self.give_up()
