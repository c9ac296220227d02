"""The engine of language models: vLLM and its own server application, asked in this process."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any, ClassVar, Self

import orjson

from contract.errors import ApiError, model_starting
from contract.options.catalog import ServedModel
from contract.profile import Profile
from contract.protocol import (
    CHAT_ROUTE,
    COMPLETIONS_ROUTE,
    COUNT_TOKENS_ROUTE,
    DETOKENIZE_ROUTE,
    INPUT_TOKENS_ROUTE,
    KV_CACHE_USAGE,
    MESSAGES_ROUTE,
    RESPONSES_ROUTE,
    TOKENIZE_ROUTE,
    Adapter,
    RequestHead,
    ResponseItem,
)
from deployments.replica import Engine
from deployments.vllm.answer import answer
from deployments.vllm.chat import ChatDialect
from deployments.vllm.completions import CompletionsDialect
from deployments.vllm.dialect import Dialect
from deployments.vllm.input_audio import with_decoded_audio
from deployments.vllm.internals.errors import reported
from deployments.vllm.internals.server import VllmServer
from deployments.vllm.internals.server_start import start_server
from deployments.vllm.lora_adapters import LoraAdapters, adapters_of
from deployments.vllm.messages import CountTokensDialect, MessagesDialect
from deployments.vllm.responses import ResponsesDialect
from deployments.vllm.tokens import TokensDialect
from deployments.vllm.tracing import trace_arguments

TRIAL_TEXT = "ready?"
TRIAL_TOKENS = 2


TOKENIZER: dict[str, Dialect] = {
    TOKENIZE_ROUTE: TokensDialect("messages", reported),
    DETOKENIZE_ROUTE: TokensDialect("tokens", reported),
}


class VllmEngine(Engine):
    """A running vLLM; what it can be asked is its subclass's to know."""

    arguments: ClassVar[dict[str, Any]] = {}  # of vLLM, whatever the entry says
    dialects: ClassVar[dict[str, Dialect]]  # by route

    def __init__(self, model_id: str, server: VllmServer, adapters: LoraAdapters | None = None) -> None:
        """`adapters` holds what the server has loaded of them; None where it takes none."""
        self._model_id = model_id
        self._server = server
        self._adapters = adapters

    @classmethod
    async def start(cls, model: ServedModel, options: dict[str, Any]) -> Self:
        """`options` are the arguments of `vllm serve`. Raises EngineArgumentError, PickleError."""
        traced = trace_arguments(model)
        server = await start_server(model._replace(engine_kwargs=traced | options | cls.arguments))
        limits = server.lora_limits()
        return cls(model.id, server, limits and adapters_of(model, server, limits))

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        dialect = self.dialects[request.route]
        async with (
            self._with_adapter(request.adapter),
            aclosing(answer(self._server.app, dialect, request, body)) as items,
        ):
            async for item in items:
                yield item

    def _with_adapter(self, adapter: Adapter | None) -> AbstractAsyncContextManager[None]:
        """Have the adapter of a request resident. Raises ApiError."""
        if adapter is None:
            return nullcontext()
        if self._adapters is None:  # a replica of before `enable_lora`, which an update is replacing
            raise model_starting()
        return self._adapters.used(adapter)

    async def misfits(self, adapters: Sequence[Adapter]) -> list[str]:
        return await (super().misfits(adapters) if self._adapters is None else self._adapters.misfits(adapters))

    def resident_adapters(self) -> list[str]:
        return [] if self._adapters is None else self._adapters.resident()

    def profile(self) -> Profile:
        return self._server.profile()

    def trial_request(self) -> tuple[str, dict[str, Any]]:
        """A route, and the smallest request on it."""
        raise NotImplementedError

    async def trial(self) -> None:
        route, parameters = self.trial_request()
        request = RequestHead(route, str(uuid.uuid4()), include_usage=False, echo={})
        body = orjson.dumps({"model": self._model_id} | parameters)
        try:
            async with aclosing(self.answer(request, body)) as items:
                _ = [item async for item in items]
        except ApiError as error:
            if error.code != "overloaded":  # it has enough to do, and so works
                raise

    async def check_health(self) -> None:
        await self._server.check_health()

    def stats(self) -> dict[str, float]:
        return {KV_CACHE_USAGE: self._server.kv_cache_usage()}

    def unfinished(self) -> int:
        """Requests that vLLM works on or has waiting."""
        return self._server.unfinished_requests()

    def steps(self) -> int:
        return self._server.steps()

    def close(self) -> None:
        self._server.shutdown()


class VllmChatEngine(VllmEngine):
    """A language model."""

    dialects: ClassVar[dict[str, Dialect]] = {
        CHAT_ROUTE: ChatDialect(reported),
        RESPONSES_ROUTE: ResponsesDialect(reported),
        MESSAGES_ROUTE: MessagesDialect(reported),
        COUNT_TOKENS_ROUTE: CountTokensDialect(reported),
        COMPLETIONS_ROUTE: CompletionsDialect(reported),
        INPUT_TOKENS_ROUTE: TokensDialect("input", reported),
        **TOKENIZER,
    }

    def trial_request(self) -> tuple[str, dict[str, Any]]:
        if "chat" not in self.profile().capabilities:  # a base model
            return COMPLETIONS_ROUTE, {"prompt": TRIAL_TEXT, "max_tokens": TRIAL_TOKENS}
        return CHAT_ROUTE, {"messages": [{"role": "user", "content": TRIAL_TEXT}], "max_tokens": TRIAL_TOKENS}

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        async with aclosing(super().answer(request, await with_decoded_audio(body))) as items:
            async for item in items:
                yield item
