"""The gateway: a pure ASGI application that takes every request through the same steps, in the contract's order."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol
from urllib.parse import parse_qs

import orjson

from app.budgets.account import BudgetLimits, BudgetStatus
from app.budgets.admission import Budgets, RateLimited
from app.budgets.estimate import Estimate, Estimator
from app.config.service import Config
from app.endpoints import openapi
from app.endpoints.api_style import style_at
from app.endpoints.catalog import ENDPOINTS
from app.endpoints.endpoint import Endpoint, Exchange
from app.endpoints.routes import (
    HEALTH,
    KEPT_IMAGE,
    METRICS,
    MODEL_CARD,
    MODEL_LIST,
    OPENAPI,
    READY,
    Router,
    needs_key,
)
from app.endpoints.usage import USAGE, page, question_of
from app.gateway.call import Call
from app.gateway.capabilities import wanted_capabilities
from app.gateway.image_store import ImageStore
from app.gateway.input_audio import AudioChecks
from app.gateway.input_images import ImageLoader
from app.gateway.open_streams import OpenStreams
from app.gateway.streaming import StreamBrokenError, relay_bytes, relay_events
from app.gateway.teams import TeamAccount, Teams
from app.http.bodies_in_flight import BodiesInFlight
from app.http.body import ClientGone, Receive, announced_bytes, impatient
from app.http.response import ResponseWriter, Send
from app.http.stall_timer import ReaderStalled
from app.keys import KeyEntry, KeyRing
from app.keys.local import refuse_elsewhere
from app.parameters.adjust import STRICT, adjust
from app.parameters.schemas import SchemaChecker
from app.telemetry.acceptance import Acceptance
from app.telemetry.access_log import line_of
from app.telemetry.metrics import Metrics
from app.telemetry.record import CLIENT_GONE, OK, READER_STALLED, RequestRecord
from app.telemetry.trace import Trace
from app.tokens.bearer import BearerTokens
from app.upstream.affinity import affinity
from app.upstream.fair_queue import QueueTimeout
from app.upstream.fair_relay import FairRelay
from app.upstream.ready_state import missing, state_card
from app.upstream.registry import Model, Registry
from app.usage.ledger import UsageLedger
from contract.errors import ApiError, internal_error
from contract.log_lines import current_request
from contract.protocol import RequestHead

logger = logging.getLogger("portico.gateway")

JSON = [("content-type", "application/json")]
Handler = Callable[[Call], Awaitable[None]]


class Tracer(Protocol):
    """What makes the spans of requests: `app.telemetry.tracer`, which is imported only where tracing is on."""

    def begin(self, method: str, headers: Mapping[str, str]) -> Trace: ...

    def end(self, trace: Trace, record: RequestRecord) -> None: ...

    def retire(self) -> None: ...

    def close(self) -> None: ...


class Gateway:
    """One gateway over the models of one configuration."""

    def __init__(
        self,
        config: Config,
        keys: KeyRing,
        tokens: BearerTokens,
        relay: FairRelay,
        registry: Registry,
        *,
        bodies: BodiesInFlight,
        streams: OpenStreams,
        budgets: Budgets,
        teams: Teams,
        estimator: Estimator,
        image_store: ImageStore,
        metrics: Metrics,
        metrics_page: Callable[[str | None], Awaitable[bytes]],
        acceptance: Callable[[str], Awaitable[Acceptance]],
        log_line: Callable[[bytes], None],
        http_host: str | None,
        tracer: Tracer | None = None,
        ledger: UsageLedger | None = None,
        endpoints: Sequence[Endpoint] = ENDPOINTS,
    ) -> None:
        self._router = Router(endpoints, config.disabled_routes() if ledger else [*config.routes.disabled, USAGE.path])
        self._limits = config.limits
        bodies.resize(self._limits.bodies_in_flight_bytes, self._limits.bodies_in_flight_bytes_per_key)
        self._bodies = bodies
        self._streams = streams
        self._schemas = SchemaChecker()
        self._images = ImageLoader(config.input_images, config.limits.max_body_bytes)
        self._audio = AudioChecks(config.input_audio)
        self._keys = keys
        self._tokens = tokens
        self._relay = relay
        self._registry = registry
        self._budgets = budgets
        self._teams = teams
        self._estimator = estimator
        self._image_store = image_store
        self._metrics = metrics
        self._metrics_page = metrics_page
        self._acceptance = acceptance
        self._log_line = log_line
        self._http_host = http_host
        self._tracer = tracer
        self._ledger = ledger
        self._handlers: dict[str, Handler] = {
            **{one.path: partial(self._generate, one) for one in endpoints},
            KEPT_IMAGE.path: self._kept_image,
            MODEL_LIST.path: self._model_list,
            MODEL_CARD.path: self._model_card,
            USAGE.path: self._usage,
            HEALTH.path: self._health,
            READY.path: self._ready,
            METRICS.path: self._metrics_text,
            OPENAPI.path: self._openapi,
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send, self._limits)
        record = call.record
        current_request.set(record.request_id)
        if self._tracer is not None:
            record.trace = self._tracer.begin(scope["method"], call.headers)
        try:
            await self._handle(scope, call)
        except ApiError as error:
            record.reason = error.code
            await call.fail(error)
        except ClientGone:
            record.reason = CLIENT_GONE
        except asyncio.CancelledError:  # how Serve signals that the client left
            record.reason = CLIENT_GONE
            raise
        except ReaderStalled:
            record.reason = READER_STALLED
            raise  # the server cuts the connection
        except StreamBrokenError:
            raise  # so it does here; the record has the reason
        except Exception:
            logger.exception("request %s failed", record.request_id)
            if record.reason == OK:
                record.reason = internal_error().code
            if call.response.started:
                raise  # the server cuts the connection: a failure must not look like an end
            await call.fail(internal_error())
        finally:
            record.total_s = call.clock.total()
            self.keep(record)

    def keep(self, record: RequestRecord) -> None:
        """Have what is known of a request that has ended where it is wanted."""
        self._metrics.record(record)
        if not record.is_probe:
            self._log_line(line_of(record))
        if self._tracer is not None and record.trace is not None:
            self._tracer.end(record.trace, record)
        if record.admitted and self._ledger is not None:
            self._ledger.settle(record)

    async def _handle(self, scope: dict[str, Any], call: Call) -> None:
        path = scope["path"]
        found = self._router.find(path)
        call.style = found.route.style if found else style_at(path)
        if needs_key(path, found):
            key = call.key = await self.authenticate(call.authorization(), call.client)
            call.budget_status = partial(self.budget_status, key)
            if (team := self._teams.of(key)) is not None and team.quotas:
                call.budget_notice = team.notice
        call.match = self._router.require(scope["method"], path, found)
        await self._handlers[call.match.route.path](call)

    async def authenticate(self, authorization: str | None, client: str | None) -> KeyEntry:
        """The key, or the subject of the token, of an Authorization header that came from the address `client`, within
        the scope of its team.

        Raises ApiError. Only a token whose signing key is not known yet waits.
        """
        if (token := self._tokens.token_in(authorization)) is not None:
            return self._teams.scoped(await self._tokens.authenticate(token))
        key = self._keys.authenticate(authorization)
        refuse_elsewhere(key, self._http_host, client)
        return self._teams.scoped(key)

    def budget_status(self, key: KeyEntry) -> BudgetStatus:
        """What is left to a key: of its own budget, or of its team's where that is less."""
        own = self._budgets.budget_status(key.id, limits_of(key))
        team = self._teams.of(key)
        return own if team is None else team.budget_status(own)

    async def _generate(self, endpoint: Endpoint, call: Call) -> None:
        with self._relay.open_request(call.key), self._bodies.hold(call.key.id, call.key.weight) as held:
            receive = impatient(call.clock.outside(call.receive), self._limits)
            receive = held.counted(receive, announced_bytes(call.headers))
            request = await endpoint.read(receive, call.headers, self._limits)
            await self._admit(endpoint, call, request)

    async def _admit(self, endpoint: Endpoint, call: Call, request: dict[str, Any]) -> None:
        record = call.record
        record.model_id = self._registry.named(request.get("model"), call.match.pipeline)
        record.makes_text = endpoint.makes_text
        model = self._registry.resolve(request.get("model"), call.match.pipeline, call.key)
        team = self._teams.of(call.key)
        estimate = self._estimate(endpoint, call, model, request, team)
        if endpoint.makes_text:
            record.estimated_prompt = estimate.prompt
        record.admission_at_s = call.clock.total()
        try:
            own = self._budgets.admit(call.key.id, limits_of(call.key), estimate.total)
            if team is not None:
                await team.require_quota()
            async with own if team is None else team.admission(own, estimate.total) as admission:
                record.admission_s = call.clock.total() - record.admission_at_s
                record.admitted = True
                try:
                    await self._answer(endpoint, call, model, request)
                except ApiError as error:
                    endpoint.table.name_as_sent(error, request)
                    # What the engine did for a request that timed out there is not known; any other it did not serve.
                    in_engine = error.code == "timeout" and not isinstance(error, QueueTimeout)
                    admission.settle(None if in_engine else 0)
                    raise
                except (ClientGone, asyncio.CancelledError, ReaderStalled):
                    record.left_engine = record.queue_s is not None
                    raise
                finally:
                    admission.settle(record.tokens_to_charge())
                    if record.is_unreported and (self._ledger is not None or team is not None):
                        found = self._whole_estimate(endpoint, model, request)
                        record.estimated_prompt, record.estimated_answer = found.prompt, found.answer
                    if team is not None:
                        team.charge(record, model.entry.prices)
        except RateLimited as error:
            record.refused_resource = error.resource
            raise

    def _estimate(
        self, endpoint: Endpoint, call: Call, model: Model, request: dict[str, Any], team: TeamAccount | None
    ) -> Estimate:
        """Tokens to reserve."""
        if call.key.budget.tokens_per_minute is None and (team is None or not team.counts_tokens):
            return Estimate()
        return self._whole_estimate(endpoint, model, request)

    def _whole_estimate(self, endpoint: Endpoint, model: Model, request: dict[str, Any]) -> Estimate:
        context = model.profile.limits.get("context_length", 0)
        estimate = self._estimator.estimate(model.entry.id, request, endpoint.counted, context)
        if endpoint.makes_text:
            return estimate
        return estimate._replace(answer=endpoint.answer_tokens(request, model.profile))

    async def _answer(self, endpoint: Endpoint, call: Call, model: Model, request: dict[str, Any]) -> None:
        record, response = call.record, call.response
        adjusted = adjust(endpoint.table, request, model.profile)
        call.note(adjusted)
        await self._schemas.check(adjusted.schemas)
        adapter = model.adapter.id if model.adapter else ""
        where = affinity(model.entry.routing, call.headers, adjusted.engine, adapter)
        if images := list(endpoint.images(adjusted.engine)):
            call.clock.pause()
            await self._images.load(images)
            call.clock.resume()
        if audio := list(endpoint.audio(adjusted.engine)):
            await self._audio.check(audio)
        record.wanted_images = endpoint.wanted_images(adjusted.engine)
        exchange = Exchange(record.request_id, model.id, call.headers, adjusted, self._image_store)
        endpoint.before(exchange)
        usage = endpoint.include_usage(adjusted.gateway)
        echo = {name: adjusted.accepted[name] for name in endpoint.echoed if name in adjusted.accepted}
        head = RequestHead(endpoint.path, record.request_id, usage, echo, bool(request.get(STRICT)), *where)
        head = head._replace(adapter=model.adapter, ranking=endpoint.ranking(adjusted.engine))
        head = head._replace(custom_calls=endpoint.custom_calls(adjusted.engine))
        if (trace := record.trace) is not None:
            trace.engine, trace.parameters = model.entry.engine, adjusted.engine
            head = head._replace(traceparent=trace.traceparent(), tracestate=trace.tracestate)
        payload = endpoint.engine_body(adjusted.engine, model.id)
        record.queued_at_s = call.clock.total()
        call.clock.pause()
        timeout_s = self._limits.first_byte_timeout_s
        answer = await self._relay.send(call.key, model.entry.id, head, payload, timeout_s, times=record)
        call.clock.resume()
        try:
            call.note(adjusted.clamped_further(answer.head.clamped, request))
            if endpoint.characters is not None:
                record.characters = endpoint.characters(adjusted.engine)
            if answer.head.body is None and answer.head.announces_events:
                failure_event = partial(endpoint.failure_event, exchange)
                await relay_events(response, record, answer, self._limits, failure_event, streams=self._streams)
            elif answer.head.body is None:
                await relay_bytes(response, record, answer, self._limits, streams=self._streams)
            else:
                record.usage = answer.head.usage
                body = await endpoint.after(exchange, answer.head.body)
                await response.complete(answer.head.status, [("content-type", answer.head.content_type)], body)
        finally:
            answer.close()

    async def _kept_image(self, call: Call) -> None:
        image = await self._image_store.read(call.match.name or "")
        headers = [
            ("content-type", image.content_type),
            ("cache-control", f"private, max-age={image.seconds_left}"),
            ("x-content-type-options", "nosniff"),
        ]
        await call.response.complete(200, headers, image.content)

    async def _model_list(self, call: Call) -> None:
        pipeline = call.match.pipeline
        if pipeline is not None:
            self._registry.lookup(pipeline, call.key)
        wanted = wanted_capabilities(call.query)
        models = [
            m
            for m in self._registry.visible_to(call.key)
            if pipeline in (None, m.id) and wanted <= m.profile.capabilities
        ]
        await _json(call.response, {"object": "list", "data": [model.card() for model in models]})

    async def _model_card(self, call: Call) -> None:
        model = self._registry.resolve(call.match.model_id, call.match.pipeline, call.key)
        card = model.profile.card()
        if model.profile.speculation is not None:
            acceptance = await self._acceptance(model.entry.id)
            card["speculation"] = model.profile.speculation | acceptance.card()
        await _json(call.response, model.card() | {"portico": card})

    async def _usage(self, call: Call) -> None:
        if self._ledger is None:  # then there is no such route
            raise internal_error()
        if (pipeline := call.match.pipeline) is not None:
            self._registry.lookup(pipeline, call.key)
        where = {"key": call.key.id} | ({} if pipeline is None else {"model": pipeline})
        question = question_of(call.query, where)
        sums = await self._ledger.ask(call.key.id, question)
        await _json(call.response, page(question, sums, self._ledger.currency))

    async def _health(self, call: Call) -> None:
        await _json(call.response, {"status": "ok"})

    async def _ready(self, call: Call) -> None:
        asked = parse_qs(call.query.decode("latin-1")).get("model", [])
        models = self._registry.asked_for(asked)
        states = {"models": [state_card(model) for model in models]}
        if message := missing(models):
            raise ApiError("model_starting", message, beside=states)
        await _json(call.response, {"status": "ready"} | states)

    async def _openapi(self, call: Call) -> None:
        await _json(call.response, openapi.document(self._router.routes))

    async def _metrics_text(self, call: Call) -> None:
        key_id = None
        with suppress(ApiError):  # no key is needed; one adds its own series
            key_id = (await self.authenticate(call.headers.get("authorization"), call.client)).id
        page = await self._metrics_page(key_id)
        await call.response.complete(200, [("content-type", "text/plain; version=0.0.4; charset=utf-8")], page)


async def _json(response: ResponseWriter, content: dict[str, Any]) -> None:
    await response.complete(200, JSON, orjson.dumps(content))


def limits_of(key: KeyEntry) -> BudgetLimits:
    """The key's budget as the budgets know it."""
    return BudgetLimits(key.budget.requests_per_minute, key.budget.tokens_per_minute, key.budget.concurrent_requests)
