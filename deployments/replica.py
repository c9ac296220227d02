"""The one interface of all engines, and the one replica that serves any of them.

Ray Serve makes a `Replica` for each replica of a model. Without Ray, in a notebook or a test, `Replica.started` does.
"""

import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from importlib import import_module
from typing import Any, Protocol, Self

from contract import log_settings
from contract.errors import ApiError, upstream_error
from contract.log_lines import current_request
from contract.log_settings import LogSettings
from contract.options.catalog import EngineSpec, ServedModel
from contract.profile import Profile
from contract.protocol import (
    RESIDENT_ADAPTERS,
    Adapter,
    RequestHead,
    ResponseHead,
    ResponseItem,
    ResponseTail,
    Slot,
    SlotRequest,
)
from contract.replica_port import keep_on_loopback
from contract.warm_up import say_warming_up
from deployments.health import Health
from deployments.kept_log import serve_log_kept
from deployments.request_log import RequestLine, started_log
from deployments.slots import Slots
from deployments.watchdog import Watchdog, end_process

logger = logging.getLogger("portico.replica")


class Engine(Protocol):
    """A model that is loaded and answers requests. Its methods are called on an event loop and never block it."""

    @abstractmethod
    def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        """The answer to one request, in the items of `contract.protocol`. Closing it stops the work.

        A whole answer is one head with its body. A stream is a head, pieces, and a tail; the replica keeps the head
        until the first piece, so that what fails before it still has a status. An empty piece only lets the head go.
        Raises ApiError for what the client can mend. Any other exception means that the engine failed.
        """

    @abstractmethod
    def profile(self) -> Profile:
        """What the model can do."""

    async def misfits(self, adapters: Sequence[Adapter]) -> list[str]:
        """Why each of these adapters does not fit this model; empty where it does, as far as can be seen at once."""
        return ["this engine takes no adapters"] * len(adapters)

    def resident_adapters(self) -> list[str]:
        """The ids of the adapters that are loaded now."""
        return []

    @abstractmethod
    async def trial(self) -> None:
        """Answer a small request that any working engine can answer. Raises whatever is wrong."""

    async def check_health(self) -> None:
        """Raises where the engine itself knows, at once, that it is dead."""

    def stats(self) -> dict[str, float]:
        """Numbers for the autoscaling policy, by the names in `contract.protocol`."""
        return {}

    def unfinished(self) -> int:
        """What the engine works on or has waiting, in whatever it counts; it can outlive the request it is for."""
        return 0

    def steps(self) -> int:
        """Counts on with each step of work. Where `unfinished` is not zero and no step comes, the engine hangs."""
        return 0

    def close(self) -> None:
        """Free what the engine holds. It may be closed again."""


FIRST_TRIAL = 4  # times `stall_timeout_s`: it may compile, and not every engine counts its steps


class Starter(Protocol):
    """What `load` of an engine's spec names: the engine's own class, or one that an engine is made around."""

    async def start(self, model: ServedModel, options: Any) -> Engine:
        """Load the model. `options` are its `engine_kwargs`, in the type that the spec names. Raises what is wrong."""
        ...


class Replica:
    """One replica of a model. It is ready once its engine has been through its trial."""

    # Serve awaits a constructor; the type checker knows only plain ones.
    async def __init__(  # type: ignore[misc]
        self, spec: EngineSpec, model: ServedModel, log: LogSettings = log_settings.DEFAULT
    ) -> None:
        keep_on_loopback()
        log_settings.begin(log, model.id)
        self._log = started_log()
        self._model_id = model.id
        module, _, name = spec.load[model.task].partition(":")
        with serve_log_kept():
            starter: Starter = getattr(import_module(module), name)
            self.engine = await starter.start(model, spec.parsed(model.engine_kwargs))
        self._health = Health(self.engine.trial)
        self._under_way = 0
        self._slots = Slots()
        stall = model.stall_timeout_s
        self._watchdog = _watchdog(self.engine, self._health, FIRST_TRIAL * stall) if stall else None
        say_warming_up()
        try:
            await self._health.first()
        except BaseException:
            self.close()  # else its watchdog would look on
            raise
        if self._watchdog and stall:
            self._watchdog.close()
            self._watchdog = _watchdog(self.engine, self._health, stall)

    @classmethod
    async def started(cls, spec: EngineSpec, model: ServedModel) -> Self:
        """A replica without Serve. Raises what its engine raises at its start."""
        replica = cls.__new__(cls)
        await replica.__init__(spec, model)  # type: ignore[misc]
        return replica

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Called by Serve at the start, and where the log settings change; an engine's own process keeps its own."""
        log_settings.follow(LogSettings.of(user_config["log"]))

    async def handle(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        """Answer one request; no exception leaves it. Closing this generator stops the work."""
        head: ResponseHead | None = None  # a stream's head, until its first piece
        started = False
        line = RequestLine(self._model_id, request)
        current_request.set(request.request_id)
        self._under_way += 1
        try:
            async with aclosing(self.engine.answer(request, body)) as items:
                async for item in items:
                    if isinstance(item, ResponseHead) and item.body is None:
                        head = item
                        continue
                    if head is not None and isinstance(item, ResponseTail) and item.error:
                        raise ApiError.from_wire(item.error)  # noqa: TRY301
                    if head is not None:
                        started = True
                        line.begin_stream(head.status)
                        yield head
                        head = None
                    if not isinstance(item, bytes):
                        line.end(item)
                    if item != b"":
                        yield item
        except ApiError as error:
            if error.code == upstream_error().code:
                await self._end_if_dead()
            failed = _failed(error, started=started)
            line.end(failed)
            yield failed
        except Exception:
            logger.exception("the engine failed request %s", request.request_id)
            await self._end_if_dead()
            self._health.suspect()
            failed = _failed(upstream_error(), started=started)
            line.end(failed)
            yield failed
        finally:
            current_request.set(None)
            self._under_way -= 1
            if self._log is not None:
                line.write(self._log.write)

    async def _end_if_dead(self) -> None:
        """End this process where the engine is dead, and with it this request: another replica may answer it.

        Until Serve looked, every request would fail here, and many would come: who fails at once has room for more.
        """
        try:
            await self.engine.check_health()
        except Exception:
            logger.exception("the engine is dead; this replica ends")
            self._close_log()
            end_process()

    async def slot(self, _: SlotRequest) -> AsyncGenerator[Slot]:
        """One slot of this replica, for as long as a gateway holds it: see `deployments/slots.py`."""
        async with aclosing(self._slots.hold(self.handle)) as slots:
            async for slot in slots:
                yield slot

    async def describe(self) -> dict[str, Any]:
        """What the model can do: a `Profile` as plain data."""
        return self.engine.profile().to_wire()

    async def misfits(self, adapters: Sequence[Adapter]) -> list[str]:
        """As the engine's."""
        return await self.engine.misfits(adapters)

    async def check_health(self) -> None:
        """Called by Serve, which replaces this replica where it raises."""
        self._health.check()
        await self.engine.check_health()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve, for the autoscaling policy."""
        return self.engine.stats()

    def unfinished_requests(self) -> int:
        """Requests whose answers are under way; more than none also where the engine still works for one that left."""
        return max(self._under_way, self.engine.unfinished())

    def close(self) -> None:
        """Free the engine."""
        if watchdog := getattr(self, "_watchdog", None):
            watchdog.close()
        if slots := getattr(self, "_slots", None):
            slots.close()
        if engine := getattr(self, "engine", None):  # it is not there where its start failed
            engine.close()
        self._close_log()

    def _close_log(self) -> None:
        if log := getattr(self, "_log", None):
            self._log = None
            log.close()

    def __del__(self) -> None:
        self.close()


class AdapterReplica(Replica):
    """One of a model that takes adapters: it says which are loaded, for the router to choose it by."""

    async def record_routing_stats(self) -> dict[str, Any]:
        """Called by Serve, which has routers know it."""
        return {RESIDENT_ADAPTERS: self.engine.resident_adapters()}


def _watchdog(engine: Engine, health: Health, stall_timeout_s: float) -> Watchdog:
    """Of `engine`, whose trials are work too: one that hangs must not go unnoticed."""
    return Watchdog(lambda: engine.unfinished() + health.trials(), engine.steps, stall_timeout_s)


def _failed(error: ApiError, *, started: bool) -> ResponseHead | ResponseTail:
    wire = error.to_wire()
    return ResponseTail(error=wire) if started else ResponseHead(error.status, error=wire)
