"""Watches the status of the model deployments in Serve, and keeps the registry up to date."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ray import serve

from app.background.thread_calls import ThreadCalls
from app.upstream.profile_store import ProfileStore
from app.upstream.registry import Model, Readiness, Registry
from app.upstream.serve_message import error_of, setback_of
from app.upstream.start import Stage
from contract.profile import Profile
from contract.protocol import Adapter

logger = logging.getLogger("portico.readiness")

WATCH_SECONDS_STARTING = 0.5
WATCH_SECONDS_READY = 5.0
STATUS_SECONDS = 10.0  # for Serve's controller to answer
FIRST_SECONDS = 10.0  # before a gateway replica takes requests, which it would refuse as long as it knows no model
DESCRIBE_SECONDS = 30.0  # a replica answers at once, unless its queue is long
JUDGED_AT_ONCE = 100  # adapters that a replica looks at in one call, which may take a second

# All replicas are of the newest version, or there is none: the model was scaled to zero, or wakes.
SETTLED = frozenset({"HEALTHY", "UPSCALING", "DOWNSCALING"})
# States of replicas that take requests. A controller that has restarted is still to hear from those that recover, and
# one on a node that ends is migrated: it takes requests until its successor runs.
TAKES_REQUESTS = ("RUNNING", "RECOVERING", "PENDING_MIGRATION")


def readiness_of(deployment: Any) -> Readiness:
    """The readiness of one deployment from Serve's overview of it.

    A replica runs only after its constructor, which answers a warm-up request. A settled deployment without replicas
    has been up: every deployment starts with at least one.
    """
    if deployment.status in SETTLED or running_of(deployment) > 0:
        return Readiness.VERIFIED
    return Readiness.FAILED if deployment.status == "DEPLOY_FAILED" else Readiness.STARTING


def running_of(deployment: Any) -> int:
    """How many of its replicas take requests."""
    return sum(int(deployment.replica_states.get(state, 0)) for state in TAKES_REQUESTS)


def _trouble(deployment: Any, readiness: Readiness) -> str:
    """Why a model failed, or what keeps one that starts; empty of one that is up."""
    if readiness is Readiness.VERIFIED:
        return ""
    return error_of(deployment) if readiness is Readiness.FAILED else setback_of(deployment)


class ReadinessWatch:
    """Keeps a registry up to date."""

    def __init__(
        self,
        registry: Registry,
        app_name: str,
        handles: dict[str, Any],
        profiles: ProfileStore,
        status_timeout_s: float = STATUS_SECONDS,
        *,
        report_running: Callable[[dict[str, int]], None] = lambda _: None,
        stages: Callable[[], dict[str, Stage]] = dict,
    ) -> None:
        """`report_running` is called with the number of running replicas of each deployment.

        `stages` asks Serve how far those are that start. It blocks, and is called while a model is not up.
        """
        self._registry = registry
        self._app_name = app_name
        self._handles = handles
        self._profiles = profiles
        self._report_running = report_running
        self._ask_stages = stages
        self._stages: dict[str, Stage] = {}  # as they were last seen
        self._status = ThreadCalls("Serve's status", status_timeout_s)
        self._looking: asyncio.Task[None] | None = None
        self._deployments: dict[str, Any] = {}  # as they were last seen
        self._learning: dict[str, asyncio.Task[None]] = {}
        self._judging: dict[str, asyncio.Task[None]] = {}

    def is_up(self, model_id: str) -> bool:
        """Whether a replica of the model runs, as far as is known here, without asking."""
        return self._registry.is_up(model_id)

    async def check_whether_up(self, model_id: str) -> bool:
        """Whether a replica of the model runs now. Many calls at once ask Serve once."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self.look())
        await asyncio.shield(self._looking)
        return self._registry.is_up(model_id)

    async def run(self) -> None:
        """Watch for as long as this process lives."""
        while True:
            await self.look()
            await asyncio.sleep(WATCH_SECONDS_READY if self._registry.all_verified() else WATCH_SECONDS_STARTING)

    async def first_look(self, seconds: float = FIRST_SECONDS) -> None:
        """Look, and learn what the models can do that are up by now; for `seconds` at the most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.look()
                if asked := [*self._learning.values(), *self._judging.values()]:
                    await asyncio.wait(asked)

    async def look(self) -> None:
        """Ask Serve once; single models are then asked for their descriptions in the background."""
        try:
            status = await self._status.call(serve.status)
            self._stages = {} if self._registry.all_verified() else await self._status.call(self._ask_stages)
        except TimeoutError as error:  # the controller is busy; what was known stays valid
            logger.warning("%s; asking again", error)
            return
        except Exception:  # it may be restarting
            logger.warning("Serve did not report the status of the models; asking again", exc_info=True)
            return
        application = status.applications.get(self._app_name)
        if application is None or not application.deployments:
            return  # while Serve builds an update it names no deployments; those that run go on
        self._deployments = application.deployments
        for model in self._registry.unsettled():
            self._start_to_learn(model)
        for model_id, adapters in self._registry.unfit_adapters().items():
            self._start_to_judge(model_id, adapters)
        self._update_registry()

    async def learnt(self) -> None:
        """Wait until every model that was asked has answered."""
        await asyncio.gather(*self._learning.values(), *self._judging.values())

    def _update_registry(self) -> None:
        readiness = {name: readiness_of(one) for name, one in self._deployments.items()}
        running = {name: running_of(one) for name, one in self._deployments.items()}
        self._report_running(running)
        self._registry.update(
            readiness,
            running,
            {name: _trouble(self._deployments[name], how) for name, how in readiness.items()},
            self._stages,
        )

    def _start_to_learn(self, model: Model) -> None:
        model_id, under_way = model.entry.id, self._learning.get(model.entry.id)
        deployment = self._deployments.get(model_id)
        if deployment is None or readiness_of(deployment) is not Readiness.VERIFIED:
            return
        settled = deployment.status in SETTLED
        if not settled and model.known is not None:
            return  # an update goes on, and either version may answer
        if under_way is None or under_way.done():
            learning = self._learn(model, settled=settled, asleep=running_of(deployment) == 0)
            self._learning[model_id] = asyncio.create_task(learning)

    def _start_to_judge(self, model_id: str, adapters: list[Adapter]) -> None:
        """Have a replica of the model look at adapters, where one runs: none is woken for it."""
        deployment, under_way = self._deployments.get(model_id), self._judging.get(model_id)
        if deployment is None or running_of(deployment) == 0 or not (under_way is None or under_way.done()):
            return
        self._judging[model_id] = asyncio.create_task(self._judge(model_id, adapters))

    async def _judge(self, model_id: str, adapters: list[Adapter]) -> None:
        """What is known of some is kept, whatever becomes of others."""
        for start in range(0, len(adapters), JUDGED_AT_ONCE):
            await self._judge_part(model_id, adapters[start : start + JUDGED_AT_ONCE])

    async def _judge_part(self, model_id: str, adapters: list[Adapter]) -> None:
        try:
            async with asyncio.timeout(DESCRIBE_SECONDS):
                misfits = await self._handles[model_id].misfits.remote(adapters)
        except Exception:  # as with its description
            logger.warning("%s did not look at its adapters; asking again", model_id, exc_info=True)
            return
        for adapter, misfit in zip(adapters, misfits, strict=True):
            self._registry.judge(adapter, misfit)
        self._update_registry()

    async def _learn(self, model: Model, *, settled: bool, asleep: bool) -> None:
        """Learn what a model can do: of a replica that runs, else as another gateway has learnt it."""
        model_id, identity = model.entry.id, model.entry.identity
        try:
            kept = await self._profiles.get(model_id, identity) if asleep else None
            if kept is None:
                async with asyncio.timeout(DESCRIBE_SECONDS):
                    message = await self._handles[model_id].describe.remote()
                self._registry.learn(model_id, Profile.from_wire(message), settled=settled)
                if settled:
                    await self._profiles.put(model_id, identity, message)
            else:
                self._registry.learn(model_id, Profile.from_wire(kept))
        except Exception:  # the replica died meanwhile, or has much to do
            logger.warning("%s did not describe what it can do; asking again", model_id, exc_info=True)
        self._update_registry()
