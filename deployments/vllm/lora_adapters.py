"""The LoRA adapters that an engine holds: loaded when a request is for one, the one used longest ago left for it.

The engine would load and leave them by itself, within one of its steps: there an adapter that cannot be read ends the
engine. So each is looked at and loaded before its first request, and stays while a request is for it.
"""

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from contract.errors import adapter_misfit
from contract.options.catalog import ServedModel
from contract.protocol import Adapter
from deployments.vllm.lora_files import FILES, MisfitError, Shapes, check, shapes_of
from deployments.weights import fetched

logger = logging.getLogger("portico.lora")


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
    """One adapter that the engine holds."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.users = 0  # requests under way
        self.unused = asyncio.Event()
        self.unused.set()


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
        library says by OSError and ValueError.
        """
        self._engine = engine
        self._limits = limits
        self._base = base
        self._folder_of = folder_of
        self._resident: OrderedDict[Adapter, _Resident] = OrderedDict()  # the one used longest ago first
        self._loading: dict[Adapter, asyncio.Task[None]] = {}
        self._one_at_a_time = asyncio.Lock()  # as the engine loads them
        self._last_number = 0

    def resident(self) -> list[str]:
        """The ids of those that the engine holds, the one used longest ago first."""
        return [adapter.id for adapter in self._resident]

    @asynccontextmanager
    async def used(self, adapter: Adapter) -> AsyncIterator[None]:
        """Have it resident for as long as this lasts. Raises ApiError where it does not fit the model."""
        resident = await self._take(adapter)
        resident.users += 1
        resident.unused.clear()
        self._resident.move_to_end(adapter)
        try:
            yield
        finally:
            resident.users -= 1
            if not resident.users:
                resident.unused.set()

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

    async def _take(self, adapter: Adapter) -> _Resident:
        """Wait until it is resident. Many that wait have it loaded once, and a client that leaves ends nothing."""
        while (resident := self._resident.get(adapter)) is None:
            loading = self._loading.get(adapter)
            if loading is None:
                loading = self._loading[adapter] = asyncio.create_task(self._load(adapter))
                loading.add_done_callback(lambda task: self._loaded(adapter, task))
            await asyncio.shield(loading)
        return resident

    def _loaded(self, adapter: Adapter, task: "asyncio.Task[None]") -> None:
        del self._loading[adapter]
        if not task.cancelled():
            task.exception()  # who waited for it may have left

    async def _load(self, adapter: Adapter) -> None:
        try:
            folder = await asyncio.to_thread(self._checked_folder, adapter)  # may take minutes, where it is downloaded
            async with self._one_at_a_time:
                await self._make_room(adapter)
                self._last_number += 1
                await self._engine.load_lora(adapter.id, self._last_number, folder)
                self._resident[adapter] = _Resident(self._last_number)
        except MisfitError as error:
            logger.warning("the adapter %s cannot be used: %s", adapter.id, error)
            raise adapter_misfit(adapter.id, str(error)) from error

    def _checked_folder(self, adapter: Adapter) -> Path:
        try:
            folder = self._folder_of(adapter)
        except MisfitError:
            raise
        except (OSError, ValueError) as error:
            logger.warning("the adapter %s cannot be had", adapter.id, exc_info=error)
            raise MisfitError("its files cannot be had; the log says why") from error
        check(folder, self._base, self._limits.max_rank)
        return folder

    async def _make_room(self, adapter: Adapter) -> None:
        """Leave what has the same id, of a configuration before; else, where there is no room, one that no request is
        for, or where there is none, the one used longest ago, once its requests have ended: none follows meanwhile.
        """
        stale = [other for other in self._resident if other.id == adapter.id]
        idle = [other for other, resident in self._resident.items() if not resident.users]
        is_full = len(self._resident) >= self._limits.max_resident
        for other in stale or ((idle or list(self._resident))[:1] if is_full else []):
            resident = self._resident.pop(other)
            await resident.unused.wait()
            await self._engine.leave_lora(other.id, resident.number)


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
