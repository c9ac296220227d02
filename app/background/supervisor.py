"""Runs the background loops of a process. One that fails is logged, counted, and begun again after a pause."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any

logger = logging.getLogger("portico.background")

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0  # a loop that ran for longer than this begins with the first pause again


class Loop(StrEnum):
    """Every kind of background work: a closed set, for it is a label of a metric."""

    READINESS_WATCH = "readiness_watch"
    KEY_FILE = "key_file"
    ISSUER_KEYS = "issuer_keys"
    KEPT_IMAGES = "kept_images"
    BUDGETS = "budgets"
    MONTHLY_USE = "monthly_use"
    TEAM_GAUGES = "team_gauges"
    BUDGET_STORE_GAUGE = "budget_store_gauge"
    METRICS = "metrics"
    TOKENIZERS = "tokenizers"
    DRAIN = "drain"
    USAGE = "usage"
    HEAP = "heap"


class Supervisor:
    """The background work of one process, by kind and, where a kind has several, by what each is of."""

    def __init__(self, count_failure: Callable[[Loop], None], first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._count_failure = count_failure
        self._first_pause_s = first_pause_s
        self._tasks: dict[tuple[Loop, str], asyncio.Task[None]] = {}

    def keep(self, loop: Loop, work: Callable[[], Coroutine[Any, Any, None]], of: str = "") -> None:
        """Run `work`, in place of what ran as the same before, until it returns; where it raises, again."""
        self._start(loop, of, self._run_again(loop, work))

    def run_once(self, loop: Loop, work: Callable[[], Coroutine[Any, Any, None]], of: str = "") -> None:
        """As `keep`, but work that fails stays as it is."""
        self._start(loop, of, self._succeeds(loop, work))

    def stop(self) -> None:
        """Cancel everything."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def _start(self, loop: Loop, of: str, run: Coroutine[Any, Any, object]) -> None:
        if (old := self._tasks.get((loop, of))) is not None:
            old.cancel()
        self._tasks[loop, of] = asyncio.create_task(run, name=f"{loop} {of}".strip())  # type: ignore[arg-type]

    async def _run_again(self, loop: Loop, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        pause = self._first_pause_s
        began = time.monotonic()
        while not await self._succeeds(loop, work):
            if time.monotonic() - began > LONGEST_PAUSE_S:
                pause = self._first_pause_s
            await asyncio.sleep(pause)
            pause, began = min(2 * pause, LONGEST_PAUSE_S), time.monotonic()

    async def _succeeds(self, loop: Loop, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Whether `work` came to its end."""
        task = asyncio.current_task()
        try:
            await work()
        except asyncio.CancelledError:
            # Ray raises this for a call that it has lost, too; then nobody has cancelled this task.
            if task is None or task.cancelling():
                raise
            self._failed(loop)
        except Exception:
            self._failed(loop)
        else:
            return True
        return False

    def _failed(self, loop: Loop) -> None:
        logger.exception("the background loop %s failed", loop)
        self._count_failure(loop)
