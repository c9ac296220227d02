"""The gateway's replica follows its configuration, and keeps the one before where it cannot."""

import asyncio
import logging
import os
from typing import Any, ClassVar

import pytest
from ray.exceptions import TaskCancelledError
from ray.util.metrics import Metric

from app.background.supervisor import Loop, Supervisor
from app.budgets.account import BudgetLimits
from app.budgets.messages import Join, JoinReply
from app.budgets.use import Use
from app.config.service import parse_config
from app.serving.ingress import IngressReplica, _is_no_client_s_doing
from app.usage.actor import ActorLink
from app.usage.sender import UsageSender
from contract.errors import ApiError
from contract.fields import ConfigError
from contract.line_writer import LineWriter
from tests.unit.budget_world import KEY, World, turns
from tests.unit.conftest import config_args


async def sent_by(replica: IngressReplica, scope: dict[str, Any]) -> list[dict[str, Any]]:
    """What its application sends for a request, or for a start and a stop."""
    messages = [{"type": f"lifespan.{moment}"} for moment in ("startup", "shutdown")]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await (await replica.__serve_build_asgi_app__())(scope, receive, send)
    return sent


async def test_its_server_starts_and_stops_before_there_is_a_configuration() -> None:
    sent = await sent_by(IngressReplica({}), {"type": "lifespan"})
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_stop_hands_on_what_was_counted_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[tuple[str, float]] = []
    monkeypatch.setattr(Metric, "_record", lambda metric, value, **_: exported.append((metric._name, value)))
    replica = IngressReplica({})
    reader, descriptor = os.pipe()
    replica._log = LineWriter(descriptor)
    replica._metrics.count_queue_refusal("alpha")
    replica._log.write(b"a line\n")
    await sent_by(replica, {"type": "lifespan"})
    os.close(descriptor)
    assert os.read(reader, 100) == b"a line\n"
    os.close(reader)
    assert exported == [("portico_queue_refusals", 1)]


async def test_its_streams_end_with_its_drain_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.serving.ingress.STOPPING_POLL_SECONDS", 0.01)
    stopping = [False, False]
    monkeypatch.setattr("app.serving.own_replica.is_stopping", lambda: stopping.pop() if len(stopping) > 1 else True)
    replica = IngressReplica({})
    ending = asyncio.create_task(replica._end_in_time(drain_timeout_s=0.4))
    await asyncio.sleep(0.1)
    replica._streams.require_time()
    await asyncio.wait_for(ending, 5)
    with pytest.raises(ApiError, match="Send it again"):
        replica._streams.require_time()


async def test_who_stops_the_whole_service_may_give_its_streams_less_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.serving.own_replica.is_stopping", lambda: True)
    replica = IngressReplica({})
    await replica.limit_drain(0.1)
    await asyncio.wait_for(replica._end_in_time(drain_timeout_s=600), 5)
    with pytest.raises(ApiError, match="Send it again"):
        replica._streams.require_time()


async def test_a_replica_that_stops_has_its_connections_end_with_their_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HAProxy would send a request on a connection that it had kept, as this replica closes it."""
    monkeypatch.setattr("app.serving.ingress.STOPPING_POLL_SECONDS", 0.01)
    stopping = [False]
    monkeypatch.setattr("app.serving.own_replica.is_stopping", lambda: stopping[0])
    kept = []

    async def gateway(_: Any, __: Any, send: Any) -> None:
        kept.append(send.__self__.keep_alive)

    replica = IngressReplica({})
    replica._gateway = gateway
    ending = asyncio.create_task(replica._end_in_time(drain_timeout_s=60))
    for stopping[0] in (False, True):
        await asyncio.sleep(0.1)
        await replica.serve({"type": "http"}, None, Cycle().send)
    assert kept == [True, False]
    ending.cancel()


class Cycle:
    """uvicorn's, of one request."""

    keep_alive = True

    async def send(self, message: dict[str, Any]) -> None:
        pass


async def test_while_it_serves_what_was_counted_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.telemetry.metrics.EXPORT_SECONDS", 0)
    exported = asyncio.Event()
    monkeypatch.setattr(Metric, "_record", lambda *_, **__: exported.set())
    replica = IngressReplica({})
    await replica.__serve_build_asgi_app__()
    replica._metrics.count_queue_refusal("alpha")
    await asyncio.wait_for(exported.wait(), 5)
    await replica._stop()


async def test_a_client_that_leaves_disconnects_the_request_whatever_serve_raises() -> None:
    seen: list[Any] = []

    async def gateway(_: Any, receive: Any, __: Any) -> None:
        seen.append(await receive())

    async def receive() -> Any:
        raise TaskCancelledError

    replica = IngressReplica({})
    replica._gateway = gateway
    await replica.serve({"type": "http"}, receive, None)
    assert seen == [{"type": "http.disconnect"}]


async def test_a_start_with_what_cannot_be_used_fails(tmp_path: Any) -> None:
    with pytest.raises(ConfigError):
        await IngressReplica({}).reconfigure(config_args(key_file=str(tmp_path / "none.json"), keys=[]))


async def test_a_change_to_what_cannot_be_used_leaves_the_gateway_as_it_is(tmp_path: Any) -> None:
    replica = IngressReplica({})
    before: Any = object()
    replica._gateway = before
    await replica.reconfigure(config_args(key_file=str(tmp_path / "none.json"), keys=[]))
    assert replica._gateway is before


@pytest.mark.parametrize(("replicas", "changed"), [(2, False), (1, True)], ids=["the same number", "another number"])
async def test_budgets_stay_or_retire(replicas: int, changed: bool) -> None:
    replica = IngressReplica({})
    before: Any = Retiring()
    replica._config, replica._budgets = parse_config(config_args(ingress={"replicas": 2})), before
    after = replica._budgets_of(parse_config(config_args(ingress={"replicas": replicas})))
    assert (after is not before, before.retired) == (changed, False), "the change may still fail"
    replica._use(after)
    assert (replica._budgets, before.retired) == (after, changed)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_what_teams_use_in_a_month_is_in_the_budget_store_with_one_replica_too(
    replicas: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It outlives a gateway replica; it does not end where a change takes the quota away."""
    world = World()
    monkeypatch.setattr("app.serving.ingress.ActorLink", lambda *_: world)
    team = {"id": "acme", "monthly": {"tokens": {"hard": 100}}}
    config = config_args(teams=[team], ingress={"replicas": replicas}, budgets={"snapshot": "/var/budgets.json"})
    for _ in range(2):
        replica = IngressReplica({})
        replica._follow_use(parse_config(config))
        replica._use_book.count("team:acme", "2026-11", Use(30))
        replica._follow_use(parse_config(config | {"teams": []}))
        await replica._use_book.exchange()
    assert replica._use_book.total("team:acme", "2026-11") == Use(60)


class Retiring:
    retired = False

    def retire(self) -> None:
        self.retired = True


@pytest.mark.parametrize("number", [1, 3])
async def test_another_number_of_replicas_leaves_the_budgets_before_their_keepers(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They report until the last request that they admitted has ended; then their keepers end by themselves."""
    world = World()
    monkeypatch.setattr("app.serving.ingress.ActorLink", lambda *_: world)
    monkeypatch.setattr("app.budgets.leased.REPORT_SECONDS", 0)
    replica = IngressReplica({})
    replica._config = parse_config(config_args(ingress={"replicas": 2}))
    before: Any = replica._budgets_of(replica._config)
    replica._use(before)
    limits = BudgetLimits(6000, tokens=6000, slots=1)
    async with before.admit(KEY, limits, 600) as admission:
        config = parse_config(config_args(ingress={"replicas": number}))
        replica._use(replica._budgets_of(config))
        assert world.store is not None
        await turns()
        assert world.store.slots_held(world.now) == 1
        admission.settle(100)
    await turns()
    assert world.store.slots_held(world.now) == 0
    assert world.store._accounts[KEY].budget_status(world.now).tokens == 500
    loops = replica._supervisor._tasks
    (part,) = before.parts
    assert [task.done() for (loop, of), task in loops.items() if (loop, of) == (Loop.BUDGETS, part.replica)] == [True]
    replica._supervisor.stop()


async def test_a_store_whose_reports_fail_leaves_those_to_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bad(World):
        errors: ClassVar[list[BaseException]] = [RuntimeError(), asyncio.CancelledError()]

        async def join(self, join: Join) -> JoinReply:
            if self.errors:
                raise self.errors.pop(0)
            return await super().join(join)

    worlds = [Bad(), World()]
    monkeypatch.setattr("app.serving.ingress.ActorLink", lambda _, shard: worlds[shard.place])
    monkeypatch.setattr("app.budgets.leased.REPORT_SECONDS", 0)
    replica = IngressReplica({})
    replica._supervisor = Supervisor(lambda _: None, first_pause_s=0.001)
    config = parse_config(config_args(ingress={"replicas": 2}, budgets={"shards": 2}))
    replica._use(replica._budgets_of(config))
    await turns()
    good = worlds[1].calls
    assert good > 2
    await asyncio.sleep(0.05)
    assert worlds[1].calls > good
    assert worlds[0].calls > 2, "it was begun again"
    replica._supervisor.stop()


async def test_a_call_of_serve_that_ends_with_its_request_is_no_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """asyncio logs a traceback of a task that failed and that nobody waits for any more."""
    monitor = logging.getLogger("asyncio")
    monitor.addFilter(_is_no_client_s_doing)
    try:
        for error in (TaskCancelledError(), RuntimeError("ours")):
            asyncio.get_running_loop().call_exception_handler({"message": "never retrieved", "exception": error})
    finally:
        monitor.removeFilter(_is_no_client_s_doing)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["ours"]


class TestUsage:
    """Where it sends what is used, from one configuration to the next."""

    @pytest.fixture
    def links(self, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
        links: list[str | None] = []

        def follow(_: UsageSender, link: ActorLink | None) -> None:
            links.append(None if link is None else link._settings.database)

        monkeypatch.setattr(UsageSender, "follow", follow)
        return links

    def configured(self, *changes: dict[str, Any]) -> IngressReplica:
        replica = IngressReplica({})
        for one in changes:
            config = parse_config(config_args(**one))
            replica._follow_usage(config)
            replica._config = config
        return replica

    def test_the_same_ledger_stays(self, links: list[str | None]) -> None:
        one = {"usage": {"database": "sqlite:////one.db"}}
        self.configured(one, one | {"limits": {"ping_interval_s": 1}})
        assert links == ["sqlite:////one.db"]

    def test_another_one_is_followed_and_so_is_its_end(self, links: list[str | None]) -> None:
        one, other = ({"usage": {"database": f"sqlite:////{name}.db"}} for name in ("one", "other"))
        self.configured(one, other, {"usage": {"enabled": False}})
        assert links == ["sqlite:////one.db", "sqlite:////other.db", None]

    def test_several_replicas_without_a_database_have_none_and_say_so(
        self, links: list[str | None], caplog: pytest.LogCaptureFixture
    ) -> None:
        self.configured({"ingress": {"replicas": 2}})
        assert links == [None]
        assert "there is no usage ledger: several gateway replicas need a database that all nodes reach" in caplog.text
