"""The embeddings deployment: a sentence-transformers model in a Serve replica, which batches waiting requests."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pybase64
from ray import serve

from app.errors import ApiError
from deployments.embedder import Embedded, Embedder, shortened
from deployments.embedding_input import Input, inputs_of
from deployments.protocol import RequestHead, ResponseHead

MAX_REQUESTS_PER_BATCH = 256


class EmbeddingsReplica:
    """One replica of an embedding model. It is ready once it has embedded a text."""

    def __init__(self, model_id: str, source: str, engine_kwargs: dict[str, Any]) -> None:
        self._model_id = model_id
        self._embedder = Embedder(source, engine_kwargs)
        self._embedder.embed([["ready?"]])

    async def handle(self, _: RequestHead, body: bytes) -> AsyncIterator[ResponseHead]:
        """Answer one request: always with a whole answer."""
        asked = orjson.loads(body)
        result = await self._embed(inputs_of(asked["input"]))
        if isinstance(result, ApiError):
            yield ResponseHead(result.status, error=result.to_wire())
            return
        usage = {"prompt_tokens": result.tokens, "total_tokens": result.tokens}
        answer = {"object": "list", "data": _data(result, asked), "model": self._model_id, "usage": usage}
        yield ResponseHead(200, body=orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), usage=usage)

    async def describe(self) -> dict[str, Any]:
        """What the model can do: a `Profile` as plain data."""
        return self._embedder.profile().to_wire()

    # Nothing is waited for: what comes while one batch is made is the next.
    @serve.batch(max_batch_size=MAX_REQUESTS_PER_BATCH, batch_wait_timeout_s=0)  # type: ignore[untyped-decorator]
    async def _embed(self, requests: list[list[Input]]) -> list[Embedded | ApiError]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._embedder.thread, self._embedder.embed, requests)


def _data(result: Embedded, asked: dict[str, Any]) -> list[dict[str, Any]]:
    vectors = shortened(result.vectors, asked.get("dimensions"))
    if asked.get("encoding_format") == "base64":
        rows = [pybase64.b64encode(vector.tobytes()).decode() for vector in vectors]
    else:
        rows = list(vectors)
    return [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
