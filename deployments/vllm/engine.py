"""The engine of language models: vLLM and its own server application, asked in this process."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar, Self

import orjson

from contract.errors import ApiError
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
    RequestHead,
    ResponseItem,
)
from deployments.replica import Engine
from deployments.vllm.adapter import VllmServer, reported, start_server
from deployments.vllm.answer import answer
from deployments.vllm.chat import ChatDialect
from deployments.vllm.completions import CompletionsDialect
from deployments.vllm.dialect import Dialect
from deployments.vllm.input_audio import with_decoded_audio
from deployments.vllm.messages import CountTokensDialect, MessagesDialect
from deployments.vllm.responses import ResponsesDialect
from deployments.vllm.tokens import TokensDialect

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

    def __init__(self, model_id: str, server: VllmServer) -> None:
        self._model_id = model_id
        self._server = server

    @classmethod
    async def start(cls, model: ServedModel, options: dict[str, Any]) -> Self:
        """`options` are the arguments of `vllm serve`. Raises EngineArgumentError, PickleError."""
        server = await start_server(model._replace(engine_kwargs=options | cls.arguments))
        return cls(model.id, server)

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        async with aclosing(answer(self._server.app, self.dialects[request.route], request, body)) as items:
            async for item in items:
                yield item

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
