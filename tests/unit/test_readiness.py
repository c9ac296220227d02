"""Whom the gateway asks what a model can do, and that none is woken for it."""

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from app.background.supervisor import Loop, Supervisor
from app.config.service import parse_config
from app.upstream.absence import Absence
from app.upstream.readiness import ReadinessWatch
from app.upstream.ready_state import missing
from app.upstream.registry import Readiness, Registry
from app.upstream.start import Stage
from tests.unit.conftest import PROFILE, config_args


class Profiles:
    """A store in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], dict[str, Any]] = {}

    async def get(self, model_id: str, identity: str) -> dict[str, Any] | None:
        return self.kept.get((model_id, identity))

    async def put(self, model_id: str, identity: str, profile: dict[str, Any]) -> None:
        self.kept[model_id, identity] = profile


class Handle:
    def __init__(self) -> None:
        self.asked = 0
        self.silent = False

    @property
    def describe(self) -> Any:
        return self

    async def remote(self) -> dict[str, Any]:
        self.asked += 1
        if self.silent:
            await asyncio.Event().wait()
        return PROFILE.to_wire()


class World:
    """One model, `alpha`, and what Serve says of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.handle, self.profiles = Handle(), Profiles()
        self.deployment = SimpleNamespace(status="UPDATING", replica_states={}, message="")
        self.looks = 0
        self.building = False
        monkeypatch.setattr("app.upstream.readiness.serve.status", self._status)

    def _status(self) -> Any:
        self.looks += 1
        app = SimpleNamespace(deployments={} if self.building else {"alpha": self.deployment})
        return SimpleNamespace(applications={"portico": app})

    def gateway(
        self,
        before: Registry | None = None,
        status_timeout_s: float = 5,
        report_running: Callable[[dict[str, int]], None] = lambda _: None,
        **changes: Any,
    ) -> tuple[Registry, ReadinessWatch]:
        entry = {"id": "alpha", "task": "chat", "engine": "vllm", "source": "./alpha", "mode": "flex"} | changes
        models = parse_config(config_args(models=[entry], keys=config_args()["keys"][:1])).models
        registry = Registry(models, before)
        handles = {"alpha": self.handle}
        return registry, ReadinessWatch(
            registry, "portico", handles, self.profiles, status_timeout_s, report_running=report_running
        )

    def is_now(self, status: str, running: int) -> None:
        self.deployment.status, self.deployment.replica_states = status, {"RUNNING": running} if running else {}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def look(watch: ReadinessWatch) -> None:
    """One look at Serve, and the answers of those who were asked."""
    await watch.look()
    await watch.learnt()


def readiness(registry: Registry) -> Readiness:
    return registry._models["alpha"].readiness


async def test_a_model_is_verified_by_its_first_start_and_stays_so_asleep_and_waking(world: World) -> None:
    registry, watch = world.gateway()
    for status, running, expected in [
        ("UPDATING", 0, Readiness.STARTING),
        ("HEALTHY", 1, Readiness.VERIFIED),
        ("HEALTHY", 0, Readiness.VERIFIED),
        ("UPSCALING", 0, Readiness.VERIFIED),
        ("HEALTHY", 1, Readiness.VERIFIED),
        ("UNHEALTHY", 0, Readiness.STARTING),
    ]:
        world.is_now(status, running)
        await look(watch)
        assert watch.is_up("alpha") is await watch.check_whether_up("alpha") is (running > 0)
        assert readiness(registry) is expected
    assert world.handle.asked == 1


async def test_a_gateway_that_starts_knows_the_models_that_are_up_before_it_takes_requests(world: World) -> None:
    registry, watch = world.gateway()
    world.is_now("HEALTHY", 1)
    await watch.first_look(seconds=5)
    assert readiness(registry) is Readiness.VERIFIED
    assert registry._models["alpha"].profile


async def test_it_does_not_wait_for_those_that_start_or_for_long(world: World) -> None:
    registry, watch = world.gateway()
    await watch.first_look(seconds=5)
    assert (readiness(registry), world.handle.asked) == (Readiness.STARTING, 0)
    world.is_now("HEALTHY", 1)
    world.handle.silent = True
    async with asyncio.timeout(5):
        await watch.first_look(seconds=0.01)
    assert (readiness(registry), world.handle.asked) == (Readiness.STARTING, 1)


async def test_a_model_stays_up_while_serve_s_controller_has_restarted_and_finds_its_replicas_again(
    world: World,
) -> None:
    registry, watch = world.gateway()
    world.is_now("HEALTHY", 1)
    await look(watch)
    world.deployment.status, world.deployment.replica_states = "UPDATING", {"RECOVERING": 1}
    await look(watch)
    assert readiness(registry) is Readiness.VERIFIED
    assert watch.is_up("alpha")


async def test_nobody_is_refused_while_the_only_replica_is_on_a_node_that_ends_and_its_successor_starts(
    world: World,
) -> None:
    """Serve sends it requests until the successor runs, however long that takes."""
    refused: list[str] = []
    waits = SimpleNamespace(refuse_waiting=lambda model_id, _: refused.append(model_id))
    registry, watch = world.gateway(report_running=Absence(waits, {"alpha": 0.0}).follow)
    world.is_now("HEALTHY", 1)
    await look(watch)
    world.deployment.replica_states = {"PENDING_MIGRATION": 1, "STARTING": 1}
    await look(watch)
    assert watch.is_up("alpha")
    assert (registry._models["alpha"].state, refused) == ("ready", [])
    world.deployment.replica_states = {"STOPPING": 1, "STARTING": 1}
    await look(watch)
    assert refused == ["alpha"]


NO_ROOM = (
    "Deployment 'alpha' in application 'portico' has 1 replicas that have taken more than 30s to be scheduled. This "
    "may be due to waiting for the cluster to auto-scale or for a runtime environment to be installed. Resources "
    'required for each replica: {"CPU": 400.0}, total resources available: {"CPU": 1.5}. '
    "Use `ray status` for more details."
)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "A replica failed to start with exception. Retrying 2 more time(s). Error:\n  File 'x'\nOSError: no disk",
            "alpha is starting (queued; a try failed; 2 more to come: OSError: no disk)",
        ),
        (
            "A replica failed to start with exception. Retrying. Error:\nOSError: no disk",
            "alpha is starting (queued; a try failed: OSError: no disk)",
        ),
        (
            NO_ROOM,
            'alpha is starting (queued; no machine has taken a replica for 30 s: it needs {"CPU": 400.0}, and '
            '{"CPU": 1.5} is free)',
        ),
        ("Updating.", "alpha is starting (queued)"),
    ],
    ids=["tried", "tried for the last time", "no room", "nothing known"],
)
async def test_of_a_model_that_starts_it_is_said_what_keeps_it(world: World, message: str, said: str) -> None:
    registry, watch = world.gateway()
    world.is_now("UPDATING", 0)
    world.deployment.message = message
    await look(watch)
    assert missing(registry.asked_for()) == f"Not every model is up. {said}."
    world.deployment.message = "Serve's message stays."
    world.is_now("HEALTHY", 1)
    await look(watch)
    assert (readiness(registry), registry._models["alpha"].error) == (Readiness.VERIFIED, "")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "The deployment failed to start 3 times in a row. Error:\n  File 'x.py'\nRuntimeError: no GPU\n\n",
            "RuntimeError: no GPU",
        ),
        ("\x1b[36mRuntimeError\x1b[39m: \x00no GPU", "RuntimeError: no GPU"),
        ("x" * 1000, "x" * 300),
        ("", ""),
    ],
    ids=["the last line", "printable", "short", "none"],
)
async def test_of_a_model_that_failed_the_last_line_of_its_error_is_kept(world: World, message: str, line: str) -> None:
    registry, watch = world.gateway()
    world.is_now("DEPLOY_FAILED", 0)
    world.deployment.message = message
    await look(watch)
    assert (readiness(registry), registry._models["alpha"].error) == (Readiness.FAILED, line)
    world.is_now("HEALTHY", 1)
    await look(watch)
    assert (readiness(registry), registry._models["alpha"].error) == (Readiness.VERIFIED, "")


async def test_another_gateway_learns_of_a_sleeping_model_without_asking_it(world: World) -> None:
    _, first = world.gateway()
    world.is_now("HEALTHY", 1)
    await look(first)
    world.is_now("HEALTHY", 0)
    registry, second = world.gateway()
    await look(second)
    assert readiness(registry) is Readiness.VERIFIED
    assert registry._models["alpha"].profile == PROFILE.overridden([], [])
    assert world.handle.asked == 1


async def test_what_is_kept_counts_only_for_what_the_replicas_run_now(world: World) -> None:
    _, first = world.gateway()
    world.is_now("HEALTHY", 1)
    await look(first)
    world.is_now("HEALTHY", 0)
    _, changed = world.gateway(source="./other")
    await look(changed)
    assert world.handle.asked == 2


async def test_during_an_update_what_a_replica_says_is_asked_again_when_it_is_over(world: World) -> None:
    registry, watch = world.gateway()
    world.is_now("UPDATING", 1)
    await look(watch)
    assert readiness(registry) is Readiness.VERIFIED
    assert world.profiles.kept == {}, "this may have been a replica of the old version"
    await look(watch)
    assert world.handle.asked == 1
    world.is_now("HEALTHY", 1)
    await look(watch)
    await look(watch)
    assert (world.handle.asked, len(world.profiles.kept)) == (2, 1)


async def test_a_changed_configuration_takes_over_what_is_known(world: World) -> None:
    registry, watch = world.gateway()
    world.is_now("HEALTHY", 1)
    await look(watch)
    same, _ = world.gateway(registry, capabilities={"vision": True})
    assert readiness(same) is Readiness.VERIFIED
    assert "vision" in same._models["alpha"].profile.capabilities
    assert same.unsettled() == []
    changed, _ = world.gateway(registry, source="./other")
    assert readiness(changed) is Readiness.VERIFIED
    assert [model.entry.id for model in changed.unsettled()] == ["alpha"]


async def test_a_model_that_does_not_answer_keeps_no_other_from_being_seen(world: World) -> None:
    registry, watch = world.gateway()
    world.is_now("HEALTHY", 1)
    answers = asyncio.Event()
    world.handle.remote = answers.wait  # type: ignore[assignment]
    assert await asyncio.wait_for(watch.check_whether_up("alpha"), 5)
    assert readiness(registry) is Readiness.STARTING
    answers.set()


async def test_while_serve_builds_an_update_and_names_no_deployment_all_stays_as_it_was(world: World) -> None:
    registry, watch = world.gateway()
    world.is_now("HEALTHY", 1)
    await look(watch)
    world.building = True
    await look(watch)
    assert (readiness(registry), watch.is_up("alpha")) == (Readiness.VERIFIED, True)


async def test_many_who_ask_at_once_ask_serve_once(world: World) -> None:
    _, watch = world.gateway()
    world.is_now("HEALTHY", 1)
    assert await asyncio.gather(*(watch.check_whether_up("alpha") for _ in range(20))) == [True] * 20
    assert world.looks == 1


async def test_a_watch_that_fails_is_begun_again_and_readiness_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, watch = world.gateway()
    world.is_now("HEALTHY", 1)
    update = registry.update
    failures: list[Loop] = []

    def failing_once(*known: Any) -> None:
        if not failures:
            raise KeyError("a deployment that nobody knows")
        update(*known)

    monkeypatch.setattr(registry, "update", failing_once)
    supervisor = Supervisor(failures.append, first_pause_s=0.001)
    supervisor.keep(Loop.READINESS_WATCH, watch.run)
    async with asyncio.timeout(5):
        while readiness(registry) is not Readiness.VERIFIED:
            await asyncio.sleep(0.001)
    supervisor.stop()
    assert failures == [Loop.READINESS_WATCH]


async def test_a_controller_that_hangs_leaves_what_was_known_and_is_not_asked_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, watch = world.gateway()
    world.is_now("HEALTHY", 1)
    await look(watch)
    go, asked = threading.Event(), []

    def hanging() -> None:
        asked.append(1)
        go.wait()

    monkeypatch.setattr("app.upstream.readiness.serve.status", hanging)
    _, watch = world.gateway(registry, status_timeout_s=0.05)
    for _ in range(3):
        await look(watch)
    go.set()
    assert (len(asked), readiness(registry)) == (1, Readiness.VERIFIED)


async def test_the_number_of_running_replicas_is_reported(world: World) -> None:
    reported: list[dict[str, int]] = []
    registry, _ = world.gateway()
    watch = ReadinessWatch(
        registry,
        "portico",
        {"alpha": world.handle},
        world.profiles,
        report_running=reported.append,
    )
    world.is_now("HEALTHY", 2)
    await look(watch)
    assert reported[-1] == {"alpha": 2}
    world.is_now("HEALTHY", 0)
    await look(watch)
    assert reported[-1] == {"alpha": 0}


async def test_the_stage_of_a_start_is_followed_and_kept_until_it_has_ended(world: World) -> None:
    found: list[dict[str, Stage]] = []
    registry, _ = world.gateway()
    handles = {"alpha": world.handle}
    watch = ReadinessWatch(registry, "portico", handles, world.profiles, stages=lambda: found[-1])
    states = []
    for stages in [{}, {"alpha": Stage.LOADING}, {"alpha": Stage.WARMING_UP}, {}, {"alpha": Stage.QUEUED}]:
        found.append(stages)
        await look(watch)
        states.append(registry._models["alpha"].state)
    assert states == ["queued", "loading", "warming up", "warming up", "queued"]
    world.is_now("HEALTHY", 1)
    await look(watch)
    assert registry._models["alpha"].state == "ready"
    found.clear()  # once all are up, nobody asks
    await look(watch)
