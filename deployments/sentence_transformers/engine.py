"""The engine of embeddings: a sentence-transformers model, with requests that wait batched."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Self

import orjson
import pybase64

from contract.errors import ApiError
from contract.options.catalog import ServedModel
from contract.options.sentence_transformers import EmbedderOptions
from contract.profile import Profile
from contract.protocol import RequestHead, ResponseHead, ResponseItem
from deployments.batches import Batches, Deliver
from deployments.embedding_input import inputs_of
from deployments.replica import Engine
from deployments.sentence_transformers.embedder import Embedded, Embedder, EmbeddingJob, shortened

MAX_INPUTS_PER_BATCH = 256
TRIAL_INPUT = "ready?"


class EmbeddingBatches(Batches[EmbeddingJob]):
    """Feeds one model, a batch at a time."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__("sentence-transformers")
        self._embedder = embedder

    def select(self, waiting: list[EmbeddingJob]) -> list[EmbeddingJob]:
        """As many as have room in one batch; a request of any size may be one alone."""
        batch, inputs = waiting[:1], len(waiting[0].inputs)
        for job in waiting[1:]:
            inputs += len(job.inputs)
            if inputs > MAX_INPUTS_PER_BATCH:
                break
            batch.append(job)
        return batch

    def steps(self) -> int:
        """The model's own batches, beside those of requests."""
        return super().steps() + self._embedder.batches_done

    def run(self, batch: list[EmbeddingJob], deliver: Deliver[EmbeddingJob]) -> None:
        for job, result in zip(batch, self._embedder.embed(batch), strict=True):
            deliver(job, result)


class SentenceTransformersEngine(Engine):
    """A model and the requests that wait for it."""

    def __init__(self, model_id: str, embedder: Embedder) -> None:
        self._model_id = model_id
        self._embedder = embedder
        self._batches = EmbeddingBatches(embedder)

    @classmethod
    async def start(cls, model: ServedModel, options: EmbedderOptions) -> Self:
        return cls(model.id, await asyncio.to_thread(Embedder, model, options))

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:  # noqa: ARG002
        """Always a whole answer. Closing it stops the work after a batch of the model's."""
        parameters = orjson.loads(body)
        result = await self._embed(EmbeddingJob(inputs_of(parameters["input"])))
        usage = {"prompt_tokens": result.tokens, "total_tokens": result.tokens}
        # Thousands of vectors take a while to write down.
        yield ResponseHead(200, body=await asyncio.to_thread(self._body, result, parameters, usage), usage=usage)

    def profile(self) -> Profile:
        return self._embedder.profile()

    async def trial(self) -> None:
        await self._embed(EmbeddingJob([TRIAL_INPUT]))

    def unfinished(self) -> int:
        """Requests that are embedded or wait for it."""
        return self._batches.unfinished()

    def steps(self) -> int:
        return self._batches.steps()

    def close(self) -> None:
        self._batches.close()

    async def _embed(self, job: EmbeddingJob) -> Embedded:
        """Raises ApiError where the inputs are at fault."""
        self._batches.submit(job)
        try:
            result = await job.result()
        finally:
            job.wanted = False
        if isinstance(result, ApiError):
            raise result
        return result

    def _body(self, result: Embedded, parameters: dict[str, Any], usage: dict[str, int]) -> bytes:
        vectors = shortened(result.vectors, parameters.get("dimensions"))
        if parameters.get("encoding_format") == "base64":
            rows = [pybase64.b64encode(vector.tobytes()).decode() for vector in vectors]
        else:
            rows = list(vectors)
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        answer = {"object": "list", "data": data, "model": self._model_id, "usage": usage}
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
