"""The gateway: a pure ASGI application that takes every request through the same steps, in the contract's order."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson

from app.budgets.account import BudgetLimits
from app.budgets.admission import Budgets, RateLimited
from app.budgets.estimate import Estimate, Estimator
from app.config.service import Config
from app.endpoints import openapi
from app.endpoints.endpoint import GENERATIONS, Generation
from app.endpoints.routes import (
    HEALTH,
    IMAGES,
    KEPT_IMAGE,
    METRICS,
    MODEL_CARD,
    MODEL_LIST,
    OPENAPI,
    READY,
    TABLES_BY_ROUTE,
    UNKNOWN,
    Match,
    match,
    needs_key,
)
from app.gateway.image_store import ImageStore
from app.gateway.input_images import ImageLoader
from app.gateway.streaming import relay_bytes, relay_events
from app.http.body import ClientGone, Receive, impatient
from app.http.reply import Reply, Send
from app.keys import KeyEntry, KeyRing
from app.parameters.adjust import STRICT, adjust
from app.telemetry import access_log
from app.telemetry.acceptance import Acceptance
from app.telemetry.metrics import Metrics
from app.upstream.affinity import affinity
from app.upstream.registry import Model, Registry
from app.upstream.relay import Relay
from contract.errors import ApiError, internal_error
from contract.protocol import RequestHead

logger = logging.getLogger("portico.gateway")

JSON = [("content-type", "application/json")]
Handler = Callable[["Call"], Awaitable[None]]


class Call:
    """What a route's handler gets: the request as far as it is known, and its reply."""

    def __init__(self, match: Match, headers: dict[str, str], receive: Receive, reply: Reply) -> None:
        self.match = match
        self.headers = headers
        self.receive = receive
        self.reply = reply
        self.key: KeyEntry | None = None

    @property
    def caller(self) -> KeyEntry:
        """The key of a route that needs one."""
        if self.key is None:
            raise RuntimeError(f"{self.match.route.path} was reached without a key")
        return self.key


class Gateway:
    """One gateway over the models of one configuration."""

    def __init__(
        self,
        config: Config,
        keys: KeyRing,
        relay: Relay,
        registry: Registry,
        *,
        budgets: Budgets,
        estimator: Estimator,
        image_store: ImageStore,
        metrics: Metrics,
        metrics_page: Callable[[], Awaitable[bytes]],
        acceptance: Callable[[str], Awaitable[Acceptance]],
    ) -> None:
        self._limits = config.limits
        self._images = ImageLoader(config.input_images, config.limits.max_body_bytes)
        self._keys = keys
        self._relay = relay
        self._registry = registry
        self._budgets = budgets
        self._estimator = estimator
        self._image_store = image_store
        self._metrics = metrics
        self._metrics_page = metrics_page
        self._acceptance = acceptance
        self._handlers: dict[str, Handler] = {
            **{one.route.path: partial(self._generate, one) for one in GENERATIONS},
            KEPT_IMAGE.path: self._kept_image,
            MODEL_LIST.path: self._model_list,
            MODEL_CARD.path: self._model_card,
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
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        reply = Reply(send, headers)
        try:
            await self._handle(scope, headers, receive, reply)
        except ApiError as error:
            await reply.error(error)
        except ClientGone:
            reply.reason = "client_gone"
        except asyncio.CancelledError:  # how Serve tells that the client left
            reply.reason = "client_gone"
            raise
        except Exception:
            logger.exception("request %s failed", reply.request_id)
            if reply.started:
                if reply.reason == "ok":
                    reply.reason = internal_error().code
                raise  # the server cuts the connection: a failure must not look like an end
            await reply.error(internal_error())
        finally:
            self._metrics.record(reply)
            if not reply.is_probe:
                access_log.write(reply)

    async def _handle(self, scope: dict[str, Any], headers: dict[str, str], receive: Receive, reply: Reply) -> None:
        path = scope["path"]
        reply.route = UNKNOWN
        key = self._keys.authenticate(headers.get("authorization")) if needs_key(path) else None
        if key is not None:
            reply.key_id, reply.budget_status = key.id, partial(self._budgets.budget_status, key.id, limits_of(key))
        found = match(scope["method"], path)
        reply.route, reply.is_probe = found.route.path, found.route.is_probe
        call = Call(found, headers, receive, reply)
        call.key = key
        await self._handlers[found.route.path](call)

    async def _generate(self, generation: Generation, call: Call) -> None:
        reply = call.reply
        receive = impatient(reply.clock.outside(call.receive), self._limits)
        request = await generation.read(receive, call.headers, self._limits)
        reply.model_id = self._registry.named(request.get("model"), call.match.pipeline)
        reply.makes_text = generation.makes_text
        model = self._registry.resolve(request.get("model"), call.match.pipeline, call.caller)
        estimate = self._estimate(generation, call, model, request)
        try:
            async with self._budgets.admit(call.caller.id, limits_of(call.caller), estimate.total) as admission:
                try:
                    await self._answer(generation, call, model, request)
                except ApiError as error:
                    # What the engine did for a request that timed out is not known; any other it did not serve.
                    admission.settle(None if error.code == "timeout" else 0)
                    raise
                finally:
                    admission.settle(_used(reply, estimate if generation.makes_text else None))
        except RateLimited as error:
            reply.refused_resource = error.resource
            raise

    def _estimate(self, generation: Generation, call: Call, model: Model, request: dict[str, Any]) -> Estimate:
        """Tokens to reserve."""
        if call.caller.budget.tokens_per_minute is None:
            return Estimate()
        if generation.makes_text:
            context = model.profile.limits.get("context_length", 0)
            return self._estimator.estimate(model.entry.id, request, context)
        estimate = self._estimator.estimate_prompt(model.entry.id, request)
        return estimate._replace(answer=generation.answer_tokens(request, model.profile))

    async def _answer(self, generation: Generation, call: Call, model: Model, request: dict[str, Any]) -> None:
        reply = call.reply
        adjusted = adjust(TABLES_BY_ROUTE[generation.route], request, model.profile)
        reply.note(adjusted)
        where = affinity(model.entry.routing, call.headers, adjusted.kept)
        if images := list(generation.images(adjusted.kept)):
            reply.clock.pause()
            await self._images.load(images)
            reply.clock.resume()
        usage = bool(adjusted.kept.get("stream_options", {}).get("include_usage"))
        echo = {name: adjusted.accepted[name] for name in generation.echoed if name in adjusted.accepted}
        strict = bool(request.get(STRICT))
        by_url = generation.route is IMAGES and adjusted.kept.get("response_format") == "url"
        if by_url:
            self._image_store.origin(call.headers.get("host"))  # refused before anything is painted
        head = RequestHead(generation.route.path, reply.request_id, usage, echo, strict, *where)
        payload = generation.engine_body(adjusted.kept, model.entry.id)
        reply.clock.pause()
        answer = await self._relay.send(model.entry.id, head, payload, self._limits.first_byte_timeout_s)
        reply.clock.resume()
        reply.note(adjusted.clamped_further(answer.head.clamped, request))
        try:
            if generation.characters is not None:
                reply.characters = generation.characters(adjusted.kept)
            if answer.head.body is None and answer.head.announces_events:
                await relay_events(reply, answer, self._limits.ping_interval_s, generation.failure_event)
            elif answer.head.body is None:
                await relay_bytes(reply, answer)
            else:
                reply.usage = answer.head.usage
                body = answer.head.body
                if by_url:
                    body = await self._image_store.publish(body, call.headers.get("host"))
                await reply.complete(answer.head.status, [("content-type", answer.head.content_type)], body)
        finally:
            answer.close()

    async def _kept_image(self, call: Call) -> None:
        image = await self._image_store.read(call.match.name or "")
        headers = [
            ("content-type", image.content_type),
            ("cache-control", f"private, max-age={image.seconds_left}"),
            ("x-content-type-options", "nosniff"),
        ]
        await call.reply.complete(200, headers, image.content)

    async def _model_list(self, call: Call) -> None:
        pipeline = call.match.pipeline
        if pipeline is not None:
            self._registry.lookup(pipeline, call.caller)
        models = [m for m in self._registry.visible_to(call.caller) if pipeline in (None, m.entry.id)]
        await _json(call.reply, {"object": "list", "data": [model.card() for model in models]})

    async def _model_card(self, call: Call) -> None:
        model = self._registry.resolve(call.match.model_id, call.match.pipeline, call.caller)
        card = model.profile.card()
        if model.profile.speculation is not None:
            acceptance = await self._acceptance(model.entry.id)
            card["speculation"] = model.profile.speculation | acceptance.card()
        await _json(call.reply, model.card() | {"portico": card})

    async def _health(self, call: Call) -> None:
        await _json(call.reply, {"status": "ok"})

    async def _ready(self, call: Call) -> None:
        if not self._registry.all_verified():
            raise ApiError("model_starting", self._registry.summary())
        await _json(call.reply, {"status": "ready"})

    async def _openapi(self, call: Call) -> None:
        await _json(call.reply, openapi.document())

    async def _metrics_text(self, call: Call) -> None:
        content_type = ("content-type", "text/plain; version=0.0.4; charset=utf-8")
        await call.reply.complete(200, [content_type], await self._metrics_page())


async def _json(reply: Reply, content: dict[str, Any]) -> None:
    await reply.complete(200, JSON, orjson.dumps(content))


def limits_of(key: KeyEntry) -> BudgetLimits:
    """The key's budget as the budgets know it."""
    return BudgetLimits(key.budget.requests_per_minute, key.budget.tokens_per_minute, key.budget.concurrent_requests)


def _used(reply: Reply, estimate: Estimate | None) -> int | None:
    """Tokens to charge: as reported; else what was seen of a stream of text, an event a token; else not known."""
    if reply.usage is not None:
        return sum(reply.tokens().values())
    return estimate.prompt + reply.events if reply.streamed and estimate is not None else None
