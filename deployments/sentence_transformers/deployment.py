"""The embeddings deployment: a sentence-transformers model in a Serve replica, which batches waiting requests."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pybase64
from ray import serve

from contract.errors import ApiError
from contract.protocol import RequestHead, ResponseHead
from deployments.embedding_input import inputs_of
from deployments.health import Health
from deployments.sentence_transformers.embedder import Embedded, Embedder, Job, shortened

MAX_INPUTS_PER_BATCH = 256
TRIAL = Job(["ready?"])


def _inputs_in(jobs: list[Job]) -> int:
    """How large a batch is; a request of any size may be one alone."""
    return sum(min(len(job.inputs), MAX_INPUTS_PER_BATCH) for job in jobs)


class EmbeddingsReplica:
    """One replica of an embedding model. It is ready once it has embedded a text."""

    def __init__(self, model_id: str, source: str, engine_kwargs: dict[str, Any]) -> None:
        self._model_id = model_id
        self._embedder = Embedder(source, engine_kwargs)
        self._unfinished = 0
        self._health = Health(self._try_out)
        self._embedder.embed([TRIAL])

    async def handle(self, _: RequestHead, body: bytes) -> AsyncIterator[ResponseHead]:
        """Answer one request, always with a whole answer. Closing this generator stops the work after a batch."""
        asked = orjson.loads(body)
        job = Job(inputs_of(asked["input"]))
        try:
            result = await self._embed(job)
        finally:
            job.wanted = False
        if isinstance(result, ApiError):
            yield ResponseHead(result.status, error=result.to_wire())
            return
        usage = {"prompt_tokens": result.tokens, "total_tokens": result.tokens}
        # Thousands of vectors take a while to write down.
        yield ResponseHead(200, body=await asyncio.to_thread(self._answer, result, asked, usage), usage=usage)

    async def describe(self) -> dict[str, Any]:
        """What the model can do: a `Profile` as plain data."""
        return self._embedder.profile().to_wire()

    async def check_health(self) -> None:
        """Raises EngineBrokenError."""
        self._health.check()

    def unfinished_requests(self) -> int:
        """Requests in the batch that is under way."""
        return self._unfinished

    # Nothing is waited for: what comes while one batch is made is the next.
    @serve.batch(  # type: ignore[untyped-decorator]
        max_batch_size=MAX_INPUTS_PER_BATCH, batch_wait_timeout_s=0, batch_size_fn=_inputs_in
    )
    async def _embed(self, jobs: list[Job]) -> list[Embedded | ApiError]:
        return await self.embed(jobs)

    async def embed(self, jobs: list[Job]) -> list[Embedded | ApiError]:
        """One batch, off the event loop."""
        self._unfinished = len(jobs)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._embedder.thread, self._embedder.embed, jobs)
        except Exception:
            self._health.suspect()
            raise
        finally:
            self._unfinished = 0

    async def _try_out(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._embedder.thread, self._embedder.embed, [TRIAL])

    def _answer(self, result: Embedded, asked: dict[str, Any], usage: dict[str, int]) -> bytes:
        vectors = shortened(result.vectors, asked.get("dimensions"))
        if asked.get("encoding_format") == "base64":
            rows = [pybase64.b64encode(vector.tobytes()).decode() for vector in vectors]
        else:
            rows = list(vectors)
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        answer = {"object": "list", "data": data, "model": self._model_id, "usage": usage}
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
