"""Ends the waits for models of which no replica runs: what came before that was known would wait for the first byte."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from contract.errors import ApiError, model_starting


class Waits(Protocol):
    """Where requests wait for replicas: `app.upstream.carrier.Carrier`."""

    def refuse_waiting(self, model_id: str, error: ApiError) -> None: ...


class Absence:
    """Since when which model has had no replica.

    A model that may be scaled to zero is none of these: it is woken, and each request waits by itself.
    """

    def __init__(self, waits: Waits, wait_s: Mapping[str, float]) -> None:
        """`wait_s` says of each model how long it may have no replica before those who wait for one are refused."""
        self._waits = waits
        self._wait_s = wait_s
        self._since: dict[str, float] = {}

    def follow(self, running: Mapping[str, int]) -> None:
        """Take over how many replicas of each deployment run."""
        now = asyncio.get_running_loop().time()
        for model_id, wait_s in self._wait_s.items():
            if running.get(model_id, 0) > 0:
                self._since.pop(model_id, None)
            elif now - self._since.setdefault(model_id, now) >= wait_s:
                self._waits.refuse_waiting(model_id, model_starting())
