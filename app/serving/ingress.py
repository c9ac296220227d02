"""The ingress deployment: the gateway inside a Serve replica."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ray import serve
from ray.exceptions import TaskCancelledError
from ray.serve.handle import DeploymentHandle

from app.admin.application import Sources as AdminSources
from app.admin.key_changes import KeyChanges
from app.admin.teams import team_cards
from app.admin.usage import usage_page
from app.audit.observer import Observer
from app.audit.trail import Trail
from app.background import heap
from app.background.supervisor import Loop, Supervisor
from app.background.thread_calls import ThreadCalls
from app.budgets.actor import ActorLink
from app.budgets.admission import Budgets
from app.budgets.estimate import Estimator
from app.budgets.exact import ExactBudgets
from app.budgets.leased import LeasedBudgets
from app.budgets.shards import ShardedBudgets, shards
from app.budgets.use_book import UseBook
from app.config.service import Config
from app.console.files import read_files
from app.console.sources import Sources
from app.gateway.application import Gateway, Tracer
from app.gateway.image_store import ImageStore
from app.gateway.open_streams import OpenStreams
from app.gateway.streaming import StreamBrokenError
from app.gateway.teams import Teams, account_of
from app.http.bodies_in_flight import BodiesInFlight
from app.http.connection_close import close_after
from app.http.fastapi_answers import ASGI
from app.http.stall_timer import ReaderStalled
from app.keys import KeyRing
from app.serving import controller, own_replica, serve_settings
from app.serving.front import fronted
from app.serving.queued_demand import QueuedDemand
from app.serving.tracing import make_tracer
from app.telemetry.acceptance import KnownAcceptance
from app.telemetry.metrics import RayMetrics
from app.telemetry.metrics_page import MetricsAgents
from app.tokens.bearer import BearerTokens, NoTokens, tokens_of
from app.upstream.absence import Absence
from app.upstream.carrier import Carrier
from app.upstream.connection_carrier import ConnectionCarrier
from app.upstream.fair_relay import FairRelay
from app.upstream.handle_carrier import HandleCarrier
from app.upstream.model_queues import ModelQueues
from app.upstream.profile_store import ClusterProfiles
from app.upstream.readiness import ReadinessWatch
from app.upstream.registry import Registry
from app.upstream.relay import Relay
from app.upstream.replica_connections import ReplicaConnections
from app.usage.actor import ActorLink as UsageLink
from app.usage.ledger import UsageLedger
from app.usage.sender import UsageSender
from contract import line_writer, log_settings
from contract.replica_port import keep_on_loopback

logger = logging.getLogger("portico.ingress")

INGRESS_NAME = "gateway"  # of the deployment
STEP_SECONDS = 120.0  # for what a configuration names to be read, opened or compared
LOOK_SECONDS = 5.0  # for Serve's controller to say how far models are, for the page
STOPPING_POLL_SECONDS = 0.1  # connections end with their requests from then on
# Before Serve kills a replica whose drain time is over: for the last events of its streams to reach their clients.
LAST_SECONDS = 5.0
STEPS_AT_ONCE = 4  # so that one that hangs does not stand in the way of a configuration without it


class _Application:
    """An ASGI application that is an object: uvicorn takes a bound method for one of the old kind."""

    def __init__(self, serve: Callable[..., Awaitable[None]]) -> None:
        self._serve = serve

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await self._serve(scope, receive, send)


def _is_no_client_s_doing(record: logging.LogRecord) -> bool:
    """False where a client stopped to read, or left as its request got a replica or as Serve asked one for its queue,
    or a model broke off. There are tracebacks of these, and all goes on; the access log has them.
    """
    error = record.exc_info[1] if record.exc_info else None
    left = isinstance(error, asyncio.InvalidStateError) and "_fulfill_pending_requests" in record.getMessage()
    return not (left or isinstance(error, ReaderStalled | StreamBrokenError | TaskCancelledError))


async def _or_disconnect(receive: Callable[[], Awaitable[Any]]) -> Any:
    """The request's next message; Serve raises where the client leaves while one is awaited."""
    try:
        return await receive()
    except TaskCancelledError:
        return {"type": "http.disconnect"}


class IngressReplica:
    """Holds one gateway, and puts another in its place when the configuration changes.

    A request stays with the gateway that took it, so an update cuts no stream. The number of replicas is fixed: a
    change would make HAProxy drop long streams.
    """

    def __init__(self, handles: dict[str, Any]) -> None:
        """`handles` makes the models a part of the application; those added later are found by their names."""
        keep_on_loopback()
        log_settings.begin(log_settings.DEFAULT, INGRESS_NAME)
        self._handles = handles
        self._config: Config | None = None
        self._gateway: ASGI | None = None  # with what stands before it
        self._registry: Registry | None = None
        self._budgets: Budgets | None = None
        self._tracer: Tracer | None = None
        self._tokens: BearerTokens = NoTokens()
        self._use_book = UseBook()
        self._bodies = BodiesInFlight()
        self._streams = OpenStreams()
        self._stopping = False
        self._drain_limit_s = math.inf
        self._demand = QueuedDemand()
        self._estimator = Estimator()
        self._metrics = RayMetrics()
        self._usage = UsageSender(self._metrics.count_lost_usage, self._metrics.show_waiting_usage)
        self._log = line_writer.standard_output()
        self._queues = ModelQueues(self._report_waiting, self._metrics.count_queue_refusal, INGRESS_NAME)
        self._connections = ReplicaConnections()
        self._agents = MetricsAgents()
        self._acceptance = KnownAcceptance(self._agents.acceptance)
        self._steps = ThreadCalls("a step of the configuration", STEP_SECONDS, STEPS_AT_ONCE)
        self._looks = ThreadCalls("Serve's details", LOOK_SECONDS)
        self._supervisor = Supervisor(self._metrics.count_loop_failure)

    async def __serve_build_asgi_app__(self) -> Callable[..., Awaitable[None]]:
        """Called by Serve once, on the loop that will serve the requests."""
        self._log.start()
        self._supervisor.keep(Loop.METRICS, self._metrics.keep_exported)
        self._supervisor.keep(Loop.MONTHLY_USE, self._use_book.keep)
        self._supervisor.keep(Loop.USAGE, self._usage.keep)
        self._supervisor.keep(Loop.HEAP, heap.keep_trimmed)
        for name in ("ray.serve", "asyncio"):
            logging.getLogger(name).addFilter(_is_no_client_s_doing)
        return _Application(self.serve)

    async def serve(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """The ASGI application: whatever gateway there is now."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self._gateway is not None:  # Serve configures a replica before it sends requests
            if self._stopping:
                close_after(send)
            await self._gateway(scope, partial(_or_disconnect, receive), send)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        """There is nothing to start; the server waits for both answers."""
        while True:
            message = await receive()
            stopping = message["type"] == "lifespan.shutdown"
            if stopping:
                await self._stop()
            await send({"type": f"{message['type']}.complete"})
            if stopping:
                return

    async def _stop(self) -> None:
        """Give back and hand on what is still here; no request follows."""
        if self._budgets is not None:
            await self._budgets.close()
        await self._use_book.exchange()
        await self._usage.close()
        self._supervisor.stop()
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.close)
        await self._metrics.export()
        await asyncio.to_thread(self._log.close)

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Called by Serve with the configuration: at the start, and at each change of it.

        What cannot be followed, such as a key file that is not there, fails a start. Later it is logged, and what was
        there before goes on: a replica that failed would be replaced by one that fails as well.
        """
        is_first = self._gateway is None
        try:
            await self._follow(Config.model_validate(config))
            if is_first:
                heap.settle()
        except Exception:
            if is_first:
                raise
            logger.exception("the changed configuration cannot be used; the one before stays")

    async def _follow(self, config: Config) -> None:
        log_settings.follow(config.logging.settings())
        observer = Observer(Trail(config.audit.path()))
        keys = await self._steps.call(partial(KeyRing, config.keys, config.key_path(), when_changed=observer.see_keys))
        count_failure = partial(self._metrics.count_loop_failure, Loop.ISSUER_KEYS)
        tokens = await self._steps.call(tokens_of, config.token_issuers, self._tokens, count_failure)
        image_store = await self._steps.call(ImageStore, config.kept_images)
        await self._steps.call(serve_settings.require_fit, config)
        app_name = serve.get_replica_context().app_name
        routed = {entry.id: entry.routed_by for entry in (self._config or config).models}
        for entry in config.models:  # a handle keeps the router that it has
            if entry.id not in self._handles or routed.get(entry.id, entry.routed_by) != entry.routed_by:
                self._handles[entry.id] = DeploymentHandle(entry.id, app_name)  # Serve's function for it keeps a cache
        handles = {entry.id: self._handles[entry.id] for entry in config.models}
        registry = Registry(config.models, self._registry)
        self._queues.follow(config)
        profiles = ClusterProfiles(app_name)
        carrier = self._carrier(config, handles)
        absence = Absence(carrier, config.absence_timeouts_s())
        watch = ReadinessWatch(
            registry,
            app_name,
            handles,
            profiles,
            report_running=partial(self._report_running, absence),
            stages=partial(controller.stages, app_name),
        )
        if self._gateway is None:
            await watch.first_look()
        relay = Relay(carrier, handles, watch, config.wake_timeouts_s())
        budgets = self._budgets_of(config)
        teams = Teams(config.teams, budgets, self._use_book)
        self._load_tokenizers(config)
        files = await self._steps.call(read_files) if config.console.enabled else None
        http_host = await self._steps.call(controller.http_host)
        tracer = await self._tracer_of(config)  # the last step that may fail: nobody would close it
        ledger = UsageLedger(self._usage, config) if config.keeps_usage else None
        gateway = Gateway(
            config,
            keys,
            tokens,
            FairRelay(relay, self._queues),
            registry,
            bodies=self._bodies,
            streams=self._streams,
            budgets=budgets,
            teams=teams,
            estimator=self._estimator,
            image_store=image_store,
            metrics=self._metrics,
            metrics_page=self._agents.page,
            acceptance=self._acceptance.of,
            log_line=self._log.write,
            http_host=http_host,
            tracer=tracer,
            ledger=ledger,
        )
        sources = self._sources(config, gateway, registry)
        admin = AdminSources(
            sources.authenticate,
            sources.budget_status,
            KeyChanges(config, keys),
            lambda: sources.model_cards(registry.asked_for()),
            lambda: team_cards(config.teams, teams.figures(), keys.entries()),
            partial(usage_page, ledger),
            gateway.keep,
        )
        self._gateway = fronted(gateway, sources, files, admin, config)
        self._follow_usage(config)
        self._config, self._registry, self._tokens = config, registry, tokens
        self._use(budgets)
        if self._tracer is not None and self._tracer is not tracer:
            self._tracer.retire()
        self._tracer = tracer
        self._follow_use(config)
        self._supervisor.keep(Loop.TEAM_GAUGES, partial(self._metrics.follow_quotas, teams.figures))
        self._supervisor.keep(Loop.BUDGET_STORE_GAUGE, partial(self._metrics.follow_store, budgets))
        self._supervisor.keep(Loop.READINESS_WATCH, watch.run)
        self._supervisor.keep(Loop.KEY_FILE, keys.follow)
        self._supervisor.keep(Loop.ISSUER_KEYS, tokens.follow)
        self._supervisor.keep(Loop.KEPT_IMAGES, image_store.keep_swept)
        self._supervisor.keep(Loop.DRAIN, partial(self._end_in_time, config.ingress.drain_timeout_s))
        try:
            await self._steps.call(observer.see_config, app_name, config.model_dump(mode="json", exclude_defaults=True))
        except Exception:  # it is in use all the same
            logger.exception("what has changed in the configuration is not in the audit log")

    async def limit_drain(self, seconds: float) -> None:
        """Called before the whole service is stopped by who has less patience than the drain time."""
        self._drain_limit_s = seconds

    async def _end_in_time(self, drain_timeout_s: float) -> None:
        """Once Serve has told this replica to stop, let connections end with their requests, and end the streams that
        it still has shortly before it is killed.
        """
        while not own_replica.is_stopping():  # noqa: ASYNC110 - Serve tells nobody
            await asyncio.sleep(STOPPING_POLL_SECONDS)
        self._stopping = True
        seconds = min(drain_timeout_s, self._drain_limit_s)
        await asyncio.sleep(max(seconds / 2, seconds - LAST_SECONDS))
        self._streams.end()

    def _sources(self, config: Config, gateway: Gateway, registry: Registry) -> Sources:
        """Where the console looks."""
        app_name = serve.get_replica_context().app_name
        return Sources(
            authenticate=gateway.authenticate,
            budget_status=gateway.budget_status,
            registry=registry,
            routes=config.routes.offered(),
            admin=config.admin.enabled,
            starts=lambda: self._looks.call(controller.starts, app_name),
            acceptance=self._agents.acceptance,
            loads=self._agents.loads,
            usage=self._agents.usage,
        )

    def _carrier(self, config: Config, handles: dict[str, Any]) -> Carrier:
        buffer_bytes = config.limits.stream_buffer_bytes
        if config.ingress.carrier == "connections" and not serve_settings.ray_encrypts():
            return ConnectionCarrier(handles, self._connections, buffer_bytes)
        return HandleCarrier(handles, buffer_bytes, slows_down=serve_settings.read().grpc_between_replicas)

    def _report_running(self, absence: Absence, running: dict[str, int]) -> None:
        """`running` counts the replicas of each deployment."""
        self._queues.resize(running)
        absence.follow(running)

    def _report_waiting(self, model_id: str, number: int) -> None:
        self._metrics.set_waiting(model_id, number)
        self._demand.show(self._handles[model_id], number)

    def _budgets_of(self, config: Config) -> Budgets:
        """Budgets of this replica alone, where it is the only one, else leased from the shared account."""
        before, number = self._config, config.ingress.replicas
        same = before is not None and (before.ingress.replicas, before.budgets) == (number, config.budgets)
        if same and self._budgets is not None:
            return self._budgets  # with all that was granted
        if number == 1:
            return ExactBudgets()
        return ShardedBudgets([LeasedBudgets(link, number) for link in _links(config)])

    def _follow_use(self, config: Config) -> None:
        """Of the teams that have monthly quotas. With one replica too, the budget store has it, which outlives that."""
        accounts = [account_of(team.id) for team in config.teams if team.monthly.is_limited()]
        if accounts:
            self._use_book.follow(accounts, _links(config))

    async def _tracer_of(self, config: Config) -> Tracer | None:
        """The one there is, where its settings have not changed."""
        if self._config is not None and self._config.tracing == config.tracing:
            return self._tracer
        loop = asyncio.get_running_loop()
        return await self._steps.call(make_tracer, config.tracing, self._metrics.count_spans, loop)

    def _use(self, budgets: Budgets) -> None:
        """Have these in place of those before. Only once the gateway has them: until then the change may fail."""
        if budgets is self._budgets:
            return
        if self._budgets is not None:
            self._budgets.retire()  # its loops go on until what it admitted has ended
        self._budgets = budgets
        if isinstance(budgets, ShardedBudgets):
            for part in budgets.parts:
                self._supervisor.keep(Loop.BUDGETS, part.keep, of=part.replica)

    def _follow_usage(self, config: Config) -> None:
        """Send what is used to the configuration's ledger; the same one stays."""
        before = self._config
        if before is not None and (before.keeps_usage, before.usage) == (config.keeps_usage, config.usage):
            return
        self._usage.follow(UsageLink(config.usage) if config.keeps_usage else None)
        if config.usage.enabled and not config.keeps_usage:
            logger.warning(
                "there is no usage ledger: several gateway replicas need a database that all nodes reach; name it "
                "under `usage`, or write `usage: {enabled: false}`"
            )

    def _load_tokenizers(self, config: Config) -> None:
        known = {(entry.id, entry.location()) for entry in (self._config.models if self._config else [])}
        for entry in config.models:
            if (entry.id, entry.location()) not in known:
                load = partial(self._estimator.load, entry.id, entry.location())
                self._supervisor.run_once(Loop.TOKENIZERS, load, of=entry.id)


def _links(config: Config) -> list[ActorLink]:
    """A way to each shard of the budget store."""
    return [
        ActorLink(config.budgets.snapshot, shard) for shard in shards(config.ingress.replicas, config.budgets.shards)
    ]
