"""Whether an engine that failed a request still works: a bad request fails alone, a lost GPU fails all of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger("portico.health")


class EngineBrokenError(RuntimeError):
    """The engine fails what it could do when it started; the replica is of no use any more."""


class Health:
    """After a failure the engine is given its trial again; where it fails that too, Serve replaces the replica."""

    def __init__(self, trial: Callable[[], Awaitable[object]]) -> None:
        """`trial` is what the replica did before it was ready: a small request that any working engine can answer."""
        self._trial = trial
        self._trying: asyncio.Task[None] | None = None
        self._is_broken = False

    def trials(self) -> int:
        """Whether one is under way: none or one."""
        return int(self._trying is not None and not self._trying.done())

    async def first(self) -> None:
        """The trial before the replica is ready. Raises what is wrong."""
        self._trying = asyncio.create_task(self._first())
        await self._trying

    def suspect(self) -> None:
        """The engine has failed a request. The trial runs beside others, so nobody waits for it."""
        if not self.trials():
            self._trying = asyncio.create_task(self._try())

    def check(self) -> None:
        """Raises EngineBrokenError. At once, for Serve asks every few seconds."""
        if self._is_broken:
            raise EngineBrokenError("the engine failed a request, and then its trial")

    async def _first(self) -> None:
        await self._trial()

    async def _try(self) -> None:
        try:
            await self._trial()
        except Exception:
            logger.exception("the engine failed a request, and then its trial")
            self._is_broken = True
