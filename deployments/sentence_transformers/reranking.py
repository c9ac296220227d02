"""The engine of rerank and score: a cross-encoder on sentence-transformers, with requests that wait batched."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Self

import orjson

from contract.errors import ApiError
from contract.options.catalog import ServedModel
from contract.options.sentence_transformers import EmbedderOptions
from contract.protocol import RERANK_ROUTE, RequestHead, ResponseHead, ResponseItem
from deployments.sentence_transformers.batches import TextBatches, TextEngine
from deployments.sentence_transformers.reranker import Reranker, RerankingJob
from deployments.text_pairs import TRIAL, Scored, answer, pairs_of


class RerankingBatches(TextBatches[RerankingJob]):
    """Requests of scores."""

    def __init__(self, reranker: Reranker) -> None:
        super().__init__(reranker)
        self._reranker = reranker

    def results(self, batch: list[RerankingJob]) -> list[Scored | ApiError]:
        return self._reranker.score(batch)


class RerankingEngine(TextEngine):
    """A model that gives two texts a score."""

    def __init__(self, model_id: str, reranker: Reranker) -> None:
        super().__init__(model_id, reranker, RerankingBatches(reranker))

    @classmethod
    async def start(cls, model: ServedModel, options: EmbedderOptions) -> Self:
        return cls(model.id, await asyncio.to_thread(Reranker, model, options))

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        """Always a whole answer. Closing it stops the work after a batch of the model's."""
        parameters = orjson.loads(body)
        scored = await self.result(RerankingJob(pairs_of(request.route, parameters)))
        content = answer(request.route, self._model_id, request.request_id, parameters, scored)
        yield ResponseHead(200, body=content, usage=scored.usage)

    async def trial(self) -> None:
        await self.result(RerankingJob(pairs_of(RERANK_ROUTE, TRIAL)))
