"""The LoRA adapters that an engine holds: loaded when a request is for one, the one used longest ago left for it.

The engine would load and leave them by itself, within one of its steps: there an adapter that cannot be read ends the
engine. So each is looked at and loaded before its first request, and stays while a request is for it.
"""

import asyncio
import logging
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from contract.errors import adapter_misfit
from contract.options.catalog import ServedModel
from contract.protocol import Adapter
from deployments.vllm.lora_files import FILES, MisfitError, Shapes, check, shapes_of
from deployments.weights import fetched

logger = logging.getLogger("portico.lora")

PATIENCE_S = 1.0  # of an adapter that waits for a place, before one in use takes no new requests


class LoraLimits(NamedTuple):
    """What an engine takes."""

    max_rank: int
    max_resident: int  # adapters that it holds at once, in the memory of the CPU or of the GPU


class LoraEngine(Protocol):
    """An engine that holds adapters under numbers of ours."""

    async def load_lora(self, adapter_id: str, number: int, folder: Path) -> None:
        """Raises MisfitError where the engine does not take it."""
        ...

    async def leave_lora(self, adapter_id: str, number: int) -> None: ...


class _Resident:
    """One adapter that the engine holds, or is to hold once `loading` ends."""

    loading: asyncio.Task[None]

    def __init__(self) -> None:
        self.number = 0  # of the engine's; from its load on
        self.users = 0  # requests that wait for its load or are under way
        self.open = asyncio.Event()  # while it is not set, requests that come wait
        self.open.set()


class LoraAdapters:
    """The adapters of one engine."""

    def __init__(
        self,
        engine: LoraEngine,
        limits: LoraLimits,
        base: Shapes,
        folder_of: Callable[[Adapter], Path],
    ) -> None:
        """`folder_of` gives an adapter's files, and may block to download them; it raises MisfitError, or what a
        library does that downloads.
        """
        self._engine = engine
        self._limits = limits
        self._base = base
        self._folder_of = folder_of
        self._resident: OrderedDict[Adapter, _Resident] = OrderedDict()  # the one used longest ago first
        self._loading: dict[Adapter, _Resident] = {}
        self._one_at_a_time = asyncio.Lock()  # as the engine loads them
        self._one_idles = asyncio.Event()  # for the load that has the lock
        self._last_number = 0

    def resident(self) -> list[str]:
        """The ids of those that the engine holds, the one used longest ago first."""
        return [adapter.id for adapter in self._resident]

    @asynccontextmanager
    async def used(self, adapter: Adapter) -> AsyncIterator[None]:
        """Have it resident for as long as this lasts. Raises ApiError where it does not fit the model."""
        resident = await self._admitted(adapter)
        resident.users += 1  # before it is loaded: else it were idle, and another might have its place at once
        try:
            await asyncio.shield(resident.loading)  # many have it loaded once; a client that leaves ends nothing
            if adapter in self._resident:
                self._resident.move_to_end(adapter)
            yield
        finally:
            resident.users -= 1
            if not resident.users:
                self._one_idles.set()

    async def misfits(self, adapters: Sequence[Adapter]) -> list[str]:
        """Why each does not fit the model, as far as files on this machine say; empty where it does."""
        return await asyncio.to_thread(lambda: [self._misfit(adapter) for adapter in adapters])

    def _misfit(self, adapter: Adapter) -> str:
        if not os.path.isabs(adapter.source):
            return ""  # of the hub: it is looked at when it is asked for
        try:
            check(self._folder_of(adapter), self._base, self._limits.max_rank)
        except MisfitError as error:
            return str(error)
        return ""

    async def _admitted(self, adapter: Adapter) -> _Resident:
        while (resident := self._resident.get(adapter)) is not None and not resident.open.is_set():
            await resident.open.wait()  # it may have left by then
        return resident or self._loading.get(adapter) or self._start_to_load(adapter)

    def _start_to_load(self, adapter: Adapter) -> _Resident:
        resident = self._loading[adapter] = _Resident()
        resident.loading = asyncio.create_task(self._load(adapter, resident))
        # Who waited for it may have left, and then nobody else asks what came of it.
        resident.loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return resident

    async def _load(self, adapter: Adapter, resident: _Resident) -> None:
        try:
            folder = await asyncio.to_thread(self._checked_folder, adapter)  # may take minutes, where it is downloaded
            since = time.monotonic()
            async with self._one_at_a_time:
                await self._make_room(adapter, since)
                self._last_number += 1
                resident.number = self._last_number
                await self._engine.load_lora(adapter.id, resident.number, folder)
                self._resident[adapter] = resident
        except MisfitError as error:
            logger.warning("the adapter %s cannot be used: %s", adapter.id, error)
            raise adapter_misfit(adapter.id, str(error)) from error
        finally:
            del self._loading[adapter]

    def _checked_folder(self, adapter: Adapter) -> Path:
        try:
            folder = self._folder_of(adapter)
        except MisfitError:
            raise
        except Exception as error:  # of several libraries, where it is downloaded
            logger.warning("the adapter %s cannot be had", adapter.id, exc_info=error)
            raise MisfitError("its files cannot be had; the log says why") from error
        check(folder, self._base, self._limits.max_rank)
        return folder

    async def _make_room(self, adapter: Adapter, since: float) -> None:
        """Leave what has the same id, of a configuration before; else, where there is no room, one that no request is
        for. `since`: when the load began to wait, in seconds of the monotonic clock.
        """
        stale = [other for other in self._resident if other.id == adapter.id]
        if stale:
            leaving = await self._first_idle(stale, time.monotonic() - PATIENCE_S)
        elif len(self._resident) >= self._limits.max_resident:
            leaving = await self._first_idle(self._resident, since)
        else:
            return
        await self._engine.leave_lora(leaving.id, self._resident.pop(leaving).number)

    async def _first_idle(self, among: Collection[Adapter], since: float) -> Adapter:
        """The one used longest ago that no request is for, or the first to become so.

        Adapters that always have a request would let no other in: with each PATIENCE_S since `since` one more takes no
        new ones, that used longest ago first, until one has left.
        """
        try:
            while not (idle := [one for one in among if not self._resident[one].users]):
                closed = int((time.monotonic() - since) / PATIENCE_S)
                for one in list(among)[:closed]:
                    self._resident[one].open.clear()
                self._one_idles.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE_S):
                        await self._one_idles.wait()
            return idle[0]
        finally:
            for one in among:
                self._resident[one].open.set()


def adapters_of(model: ServedModel, engine: LoraEngine, limits: LoraLimits) -> LoraAdapters:
    """The adapters of an engine that runs `model`."""

    def folder_of(adapter: Adapter) -> Path:
        if os.path.isabs(adapter.source) and not os.path.isdir(adapter.source):
            raise MisfitError("its folder is not on the replica's machine")
        return fetched(model._replace(source=adapter.source, revision=adapter.revision, allow=()), only=FILES)

    return LoraAdapters(engine, limits, _base_shapes(model), folder_of)


def _base_shapes(model: ServedModel) -> Shapes:
    """Of the model's weights, as far as its files are on this machine: the engine has what it needs of a hub name."""
    try:
        return shapes_of(fetched(model, here=True))
    except (OSError, ValueError):
        logger.warning("the weights of %s are not here, so its adapters are not held against them", model.id)
        return {}
