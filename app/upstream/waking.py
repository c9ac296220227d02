"""Wakes models that were scaled to zero, and keeps them waking when those who wait for them go."""

import asyncio
import contextvars
import logging
from typing import Any

logger = logging.getLogger("portico.waking")


class Waker:
    """For each sleeping model one call of our own that waits in its queue.

    A model wakes because requests wait for it, and each of them may be given up. This call is not: it ends once a
    replica has answered it.
    """

    def __init__(self, handles: dict[str, Any]) -> None:
        self._handles = handles
        self._calls: dict[str, asyncio.Task[bool]] = {}

    def wake(self, model_id: str) -> "asyncio.Task[bool]":
        """The call under way, or a new one. Its result is whether the model answered; do not cancel it."""
        call = self._calls.get(model_id)
        if call is None or call.done():
            # A context of its own: Serve cancels what was called in a request's context when its client leaves.
            call = asyncio.create_task(self._call(model_id), context=contextvars.Context())
            self._calls[model_id] = call
        return call

    async def _call(self, model_id: str) -> bool:
        try:
            await self._handles[model_id].describe.remote()
        except Exception:  # its replica died, its queue is full, it was removed: the next request sees to it
            logger.warning("the call that wakes %s failed", model_id, exc_info=True)
            return False
        return True
