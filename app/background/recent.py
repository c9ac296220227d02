"""A value that is looked at rarely: calls that come together, or soon after, cause one look."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """What a look found, or its failure, for a few seconds."""

    def __init__(self, look: Callable[[], Awaitable[T]], fresh_s: float) -> None:
        self._look = look
        self._fresh_s = fresh_s
        self._found: asyncio.Task[T] | None = None
        self._until = 0.0

    async def get(self) -> T:
        """The value, or what the look raised. Whoever is cancelled meanwhile leaves the look to the others."""
        if self._found is None or (self._found.done() and time.monotonic() >= self._until):
            self._found = asyncio.ensure_future(self._look_once())
        return await asyncio.shield(self._found)

    async def _look_once(self) -> T:
        try:
            return await self._look()
        finally:
            self._until = time.monotonic() + self._fresh_s
