"""The vLLM deployment: one model, its engine and vLLM's own server application in one Serve replica."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

import orjson

from contract.protocol import CHAT_ROUTE, KV_CACHE_USAGE, RESPONSES_ROUTE, RequestHead, ResponseHead, ResponseItem
from contract.speculation import from_wire
from deployments.vllm.adapter import VllmEngine, reported, start_engine
from deployments.vllm.answer import answer
from deployments.vllm.chat import ChatDialect
from deployments.vllm.dialect import Dialect
from deployments.vllm.responses import ResponsesDialect

WARM_UP_TOKENS = 2


class WarmUpError(RuntimeError):
    """The engine started and could not answer a request of its own kind."""


class VllmReplica:
    """One replica of a vLLM engine; what it is asked is its subclass's to know. It is ready once it has answered."""

    arguments: ClassVar[dict[str, Any]] = {}  # of the engine, whatever the entry says
    warm_up_route: ClassVar[str]

    # Serve awaits a constructor; the type checker knows only plain ones.
    async def __init__(  # type: ignore[misc]
        self, model_id: str, source: str, engine_kwargs: dict[str, Any], speculation: str | dict[str, Any] = "off"
    ) -> None:
        self._model_id = model_id
        self._dialects = self.dialects()
        self._engine: VllmEngine = await start_engine(
            model_id, source, engine_kwargs | self.arguments, from_wire(speculation)
        )
        self.prepare()
        await self._warm_up()

    def dialects(self) -> dict[str, Dialect]:
        """How the engine speaks on each route."""
        raise NotImplementedError

    def warm_up_body(self) -> dict[str, Any]:
        """The smallest request on `warm_up_route`."""
        raise NotImplementedError

    def prepare(self) -> None:
        """What a subclass needs of the running engine."""

    async def handle(self, request: RequestHead, body: bytes) -> AsyncIterator[ResponseItem]:
        """Answer one request; the items are those of `contract.protocol`."""
        async with aclosing(answer(self._engine.app, self._dialects[request.route], request, body)) as items:
            async for item in items:
                yield item

    async def check_health(self) -> None:
        """Called by Serve; raises where the engine is dead, and Serve then replaces this replica."""
        await self._engine.check_health()

    async def describe(self) -> dict[str, Any]:
        """What the model can do: a `Profile` as plain data."""
        return self._engine.profile().to_wire()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve, for the autoscaling policy."""
        return {KV_CACHE_USAGE: self._engine.kv_cache_usage()}

    def unfinished_requests(self) -> int:
        """Requests the engine works on now."""
        return self._engine.unfinished_requests()

    async def _warm_up(self) -> None:
        request = RequestHead(self.warm_up_route, "warm-up", include_usage=False, echo={})
        async for item in self.handle(request, orjson.dumps({"model": self._model_id} | self.warm_up_body())):
            if isinstance(item, ResponseHead) and item.error:
                raise WarmUpError(f"the warm-up request of {self._model_id} failed: {item.error['message']}")

    def __del__(self) -> None:
        if engine := getattr(self, "_engine", None):
            engine.shutdown()


class VllmChatReplica(VllmReplica):
    """One replica of a language model."""

    warm_up_route = CHAT_ROUTE

    def dialects(self) -> dict[str, Dialect]:
        return {CHAT_ROUTE: ChatDialect(reported), RESPONSES_ROUTE: ResponsesDialect(reported)}

    def warm_up_body(self) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": "ready?"}], "max_tokens": WARM_UP_TOKENS}
