"""A vLLM engine that makes vectors of texts, in a Serve replica: vLLM's pooling runner behind vLLM's own server.

Texts are tokenized once, here, so that what is too long can be named; the engine gets token ids. It answers in base64,
because a JSON of numbers is slow to write and to read.
"""

import asyncio
import copy
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, ClassVar, NamedTuple

import numpy as np
import orjson
import pybase64

from contract.errors import ApiError
from contract.protocol import EMBEDDINGS_ROUTE, RequestHead, ResponseHead, ResponseItem
from deployments.embedding_input import inputs_of, tokens_of
from deployments.vllm.adapter import reported
from deployments.vllm.deployment import VllmReplica
from deployments.vllm.dialect import Dialect, EventStream
from deployments.vllm.errors import ErrorMap, Reported, unreported


class EmbeddingsDialect:
    """POST /v1/embeddings as vLLM answers it."""

    def __init__(self, reported: Reported = unreported) -> None:
        self.errors = ErrorMap(prompt="input", format="encoding_format", reported=reported)

    def body(self, body: bytes, _: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        answer = orjson.loads(body)
        usage = {name: answer["usage"][name] for name in ("prompt_tokens", "total_tokens")}
        kept = {"object": "list", "data": answer["data"], "model": answer["model"], "usage": usage}
        return orjson.dumps(kept), usage

    def stream(self, _: RequestHead) -> EventStream:
        raise TypeError("embeddings are never streamed")


class _Tokenized(NamedTuple):
    """A request as the engine gets it."""

    body: bytes
    wants_numbers: bool


class VllmEmbeddingsReplica(VllmReplica):
    """One replica of an embedding model."""

    arguments: ClassVar[dict[str, Any]] = {"runner": "pooling"}
    warm_up_route = EMBEDDINGS_ROUTE

    def dialects(self) -> dict[str, Dialect]:
        return {EMBEDDINGS_ROUTE: EmbeddingsDialect(reported)}

    def warm_up_body(self) -> dict[str, Any]:
        return {"input": "ready?"}

    def prepare(self) -> None:
        self._tokenizer = copy.deepcopy(self._engine.tokenizer())
        self._limits = self._engine.profile().limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")  # it is not safe in several

    async def handle(self, request: RequestHead, body: bytes) -> AsyncIterator[ResponseItem]:
        """Answer one request, always with a whole answer."""
        loop = asyncio.get_running_loop()
        read = await loop.run_in_executor(self._thread, self._read, body)
        if isinstance(read, ApiError):
            yield ResponseHead(read.status, error=read.to_wire())
            return
        async with aclosing(super().handle(request, read.body)) as items:  # type: ignore[type-var]
            async for item in items:
                if read.wants_numbers and isinstance(item, ResponseHead) and item.body is not None:
                    item = item._replace(body=await asyncio.to_thread(_as_numbers, item.body))  # noqa: PLW2901
                yield item

    def _read(self, body: bytes) -> _Tokenized | ApiError:
        asked = orjson.loads(body)
        inputs = inputs_of(asked["input"])
        ids = tokens_of(inputs, self._tokenize, self._limits["context_length"], self._limits["vocabulary_size"])
        if isinstance(ids, ApiError):
            return ids
        wants_numbers = asked.get("encoding_format") != "base64"
        return _Tokenized(orjson.dumps(asked | {"input": ids, "encoding_format": "base64"}), wants_numbers)

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        return ids


def _as_numbers(body: bytes) -> bytes:
    """The same answer, with arrays of numbers instead of base64."""
    answer = orjson.loads(body)
    for item in answer["data"]:
        item["embedding"] = np.frombuffer(pybase64.b64decode(item["embedding"]), "<f4")
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
