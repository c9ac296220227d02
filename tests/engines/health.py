"""Asks a replica for its health, as Serve does."""

import asyncio
from typing import Any

from deployments.health import EngineBrokenError


async def until_replaced(replica: Any) -> None:
    """Ask until it says that its engine is broken. Raises TimeoutError."""
    async with asyncio.timeout(5):
        while True:
            try:
                await replica.check_health()
            except EngineBrokenError:
                return
            await asyncio.sleep(0.01)
