"""Ends a replica whose engine hangs: it has work, takes no step, and does not know that anything is wrong."""

import asyncio
import faulthandler
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress

import psutil

logger = logging.getLogger("portico.watchdog")

LOOKS = 10  # in the time in which a step must come


def end_process() -> None:
    """End this process and all that it started, at once; a stopped process too.

    To Serve and to whoever waits for an answer this is a replica that died: it is replaced at once, without the time
    that a replica gets to finish its requests, for these never end. Its streams end in an error, and what has no byte
    of its answer yet is tried on another replica.
    """
    try:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        faulthandler.dump_traceback(sys.__stderr__ or 2)  # where each thread hangs
    finally:
        os._exit(1)


class Watchdog:
    """Looks at an engine again and again, on the event loop that the engine's answers come to."""

    def __init__(
        self,
        unfinished: Callable[[], int],
        steps: Callable[[], int],
        stall_timeout_s: float,
        stalled: Callable[[], None] = end_process,
    ) -> None:
        """`unfinished` is the work at hand, and `steps` counts on with each step of it.

        `stalled` is called once, when there has been work for `stall_timeout_s` and no step was taken.
        """
        self._unfinished = unfinished
        self._steps = steps
        self._stall_timeout_s = stall_timeout_s
        self._stalled = stalled
        self._steps_seen = steps()
        self._silent_looks = 0
        self._timer = self._look_later()

    def close(self) -> None:
        self._timer.cancel()

    def _look_later(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._stall_timeout_s / LOOKS, self._look)

    def _look(self) -> None:
        """Counts looks, not seconds: where this process itself was held up, the engine's news are late as well.

        Only a step begins a new count. Clients that give up meanwhile take their work along, and prove nothing.
        """
        if (steps := self._steps()) != self._steps_seen:
            self._steps_seen, self._silent_looks = steps, 0
        elif self._unfinished():
            self._silent_looks += 1
        if self._silent_looks <= LOOKS:  # the first may come at once
            self._timer = self._look_later()
        else:
            logger.error("the engine has work and took no step for %g s; this replica ends", self._stall_timeout_s)
            self._stalled()
