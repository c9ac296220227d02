"""The engine of embeddings: a sentence-transformers model, with requests that wait batched."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Self

import orjson
import pybase64

from contract.errors import ApiError
from contract.options.catalog import ServedModel
from contract.options.sentence_transformers import EmbedderOptions
from contract.protocol import RequestHead, ResponseHead, ResponseItem
from deployments.embedding_input import inputs_of
from deployments.sentence_transformers.batches import TextBatches, TextEngine
from deployments.sentence_transformers.embedder import Embedded, Embedder, EmbeddingJob, shortened

TRIAL_INPUT = "ready?"


class EmbeddingBatches(TextBatches[EmbeddingJob]):
    """Requests of embeddings."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(embedder)
        self._embedder = embedder

    def results(self, batch: list[EmbeddingJob]) -> list[Embedded | ApiError]:
        return self._embedder.embed(batch)


class SentenceTransformersEngine(TextEngine):
    """A model that makes vectors of texts."""

    def __init__(self, model_id: str, embedder: Embedder) -> None:
        super().__init__(model_id, embedder, EmbeddingBatches(embedder))

    @classmethod
    async def start(cls, model: ServedModel, options: EmbedderOptions) -> Self:
        return cls(model.id, await asyncio.to_thread(Embedder, model, options))

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:  # noqa: ARG002
        """Always a whole answer. Closing it stops the work after a batch of the model's."""
        parameters = orjson.loads(body)
        result = await self.result(EmbeddingJob(inputs_of(parameters["input"])))
        usage = {"prompt_tokens": result.tokens, "total_tokens": result.tokens}
        # Thousands of vectors take a while to write down.
        yield ResponseHead(200, body=await asyncio.to_thread(self._body, result, parameters, usage), usage=usage)

    async def trial(self) -> None:
        await self.result(EmbeddingJob([TRIAL_INPUT]))

    def _body(self, result: Embedded, parameters: dict[str, Any], usage: dict[str, int]) -> bytes:
        vectors = shortened(result.vectors, parameters.get("dimensions"))
        if parameters.get("encoding_format") == "base64":
            rows = [pybase64.b64encode(vector.tobytes()).decode() for vector in vectors]
        else:
            rows = list(vectors)
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        answer = {"object": "list", "data": data, "model": self._model_id, "usage": usage}
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
