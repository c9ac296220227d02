"""The engine of rerank and score on vLLM: a cross-encoder on its pooling runner, asked for scores only.

Pairs are counted here, so that what is too long can be named; vLLM tokenizes them again, since it takes texts only.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar

import orjson

from contract.errors import ApiError
from contract.protocol import RERANK_ROUTE, RequestHead, ResponseHead, ResponseItem
from deployments.text_pairs import TRIAL, NoRerankerError, Pairs, Scored, answer, counted, pairs_of
from deployments.vllm.dialect import Dialect
from deployments.vllm.errors import ErrorMap
from deployments.vllm.internals.errors import reported
from deployments.vllm.internals.server import VllmServer
from deployments.vllm.lora_adapters import LoraAdapters
from deployments.vllm.pooling import PoolingDialect, VllmPoolingEngine

SCORE = "/score"  # vLLM's own path; at /v1/score it warns of each request


class VllmRerankingEngine(VllmPoolingEngine):
    """A model that gives two texts a score."""

    dialects: ClassVar[dict[str, Dialect]] = {
        SCORE: PoolingDialect(ErrorMap(prompt="documents", format="documents", reported=reported))
    }
    trial_route = RERANK_ROUTE
    trial_body: ClassVar[dict[str, Any]] = TRIAL

    def __init__(self, model_id: str, server: VllmServer, adapters: LoraAdapters | None = None) -> None:
        if "rerank" not in server.profile().capabilities:
            server.shutdown()
            raise NoRerankerError(
                f"{model_id} is no cross-encoder with one label, so it cannot rerank. A model for sequence "
                "classification is one, and a language model that `engine_kwargs.hf_overrides` makes one"
            )
        super().__init__(model_id, server, adapters)

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        """Always a whole answer."""
        parameters = orjson.loads(body)
        pairs = await self._read(lambda: self._pairs(request.route, parameters))
        question = {"model": self._model_id, "queries": pairs.queries, "documents": pairs.documents}
        scores = super().answer(request._replace(route=SCORE), orjson.dumps(question))
        async with aclosing(scores) as items:
            async for item in items:
                if isinstance(item, ResponseHead) and item.body is not None:
                    scored = _scored(item.body)
                    content = answer(request.route, self._model_id, request.request_id, parameters, scored)
                    item = item._replace(body=content, usage=scored.usage)  # noqa: PLW2901
                yield item

    def _pairs(self, route: str, parameters: dict[str, Any]) -> Pairs | ApiError:
        found = counted(pairs_of(route, parameters), self._tokenizer, self._limits["context_length"])
        return found if isinstance(found, ApiError) else found.pairs


def _scored(body: bytes) -> Scored:
    found = orjson.loads(body)
    return Scored([one["score"] for one in found["data"]], found["usage"]["prompt_tokens"])
