"""Stops a service that `portico serve` runs on this machine."""

import signal
import time
from collections.abc import Callable

import psutil

from app.commands.foreground import DRAIN_SECONDS, STOP_SECONDS, runs
from app.commands.services import LocalService

LIMIT_SECONDS = DRAIN_SECONDS + STOP_SECONDS + 10  # `serve` itself ends what is left before
POLL_SECONDS = 0.2


def stop(service: LocalService, on_wait: Callable[[float], None] = lambda _: None) -> bool:
    """Ask its process to stop, as Ctrl-C does, and wait until all it started is gone. False where that took too long.

    `on_wait` gets the seconds that it has taken so far.
    """
    process = psutil.Process(service.pid)
    started = process.children(recursive=True)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    left = [process, *started]
    while left and time.monotonic() - begun < LIMIT_SECONDS:
        on_wait(time.monotonic() - begun)
        _, left = psutil.wait_procs(left, timeout=POLL_SECONDS)
        left = [one for one in left if runs(one)]
    return not left
