"""The engine of embeddings on vLLM: its pooling runner behind its own server application.

Texts are tokenized once, here, so that what is too long can be named; the engine gets token ids. It answers in base64,
because a JSON of numbers is slow to write and to read.
"""

import asyncio
import copy
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, ClassVar, NamedTuple

import numpy as np
import orjson
import pybase64

from contract.errors import ApiError
from contract.protocol import EMBEDDINGS_ROUTE, RequestHead, ResponseHead, ResponseItem
from deployments.embedding_input import inputs_of, tokens_of
from deployments.vllm.adapter import VllmServer, reported
from deployments.vllm.dialect import Dialect, EventStream
from deployments.vllm.engine import VllmEngine
from deployments.vllm.errors import ErrorMap, Reported, unreported
from deployments.vllm.lora_adapters import LoraAdapters


class EmbeddingsDialect:
    """POST /v1/embeddings as vLLM answers it."""

    def __init__(self, reported: Reported = unreported) -> None:
        self.errors = ErrorMap(prompt="input", format="encoding_format", reported=reported)

    def question(self, body: bytes, _: RequestHead) -> bytes:
        return body

    def body(self, body: bytes, _: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        answer = orjson.loads(body)
        usage = {name: answer["usage"][name] for name in ("prompt_tokens", "total_tokens")}
        kept = {"object": "list", "data": answer["data"], "model": answer["model"], "usage": usage}
        return orjson.dumps(kept), usage

    def stream(self, _: RequestHead) -> EventStream:
        raise TypeError("embeddings are never streamed")


class _Tokenized(NamedTuple):
    """A request as vLLM gets it."""

    body: bytes
    wants_numbers: bool


class VllmEmbeddingsEngine(VllmEngine):
    """An embedding model."""

    arguments: ClassVar[dict[str, Any]] = {"runner": "pooling"}
    dialects: ClassVar[dict[str, Dialect]] = {EMBEDDINGS_ROUTE: EmbeddingsDialect(reported)}
    trial_route = EMBEDDINGS_ROUTE
    trial_body: ClassVar[dict[str, Any]] = {"input": "ready?"}

    def __init__(self, model_id: str, server: VllmServer, adapters: LoraAdapters | None = None) -> None:
        super().__init__(model_id, server, adapters)
        self._tokenizer = copy.deepcopy(server.tokenizer())
        self._limits = server.profile().limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")  # it is not safe in several

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        """Always a whole answer."""
        loop = asyncio.get_running_loop()
        tokenized = await loop.run_in_executor(self._thread, self._read, body)
        async with aclosing(super().answer(request, tokenized.body)) as items:
            async for item in items:
                if tokenized.wants_numbers and isinstance(item, ResponseHead) and item.body is not None:
                    item = item._replace(body=await asyncio.to_thread(_as_numbers, item.body))  # noqa: PLW2901
                yield item

    def close(self) -> None:
        super().close()
        self._thread.shutdown(wait=False)

    def _read(self, body: bytes) -> _Tokenized:
        """Raises ApiError where an input is at fault."""
        parameters = orjson.loads(body)
        inputs = inputs_of(parameters["input"])
        ids = tokens_of(inputs, self._tokenize, self._limits["context_length"], self._limits["vocabulary_size"])
        if isinstance(ids, ApiError):
            raise ids
        wants_numbers = parameters.get("encoding_format") != "base64"
        return _Tokenized(orjson.dumps(parameters | {"input": ids, "encoding_format": "base64"}), wants_numbers)

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        return ids


def _as_numbers(body: bytes) -> bytes:
    """The same answer, with arrays of numbers instead of base64."""
    answer = orjson.loads(body)
    for item in answer["data"]:
        item["embedding"] = np.frombuffer(pybase64.b64decode(item["embedding"]), "<f4")
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
