"""The engine of embeddings on vLLM: its pooling runner behind its own server application.

Texts are tokenized once, here, so that what is too long can be named; the engine gets token ids. It answers in base64,
because a JSON of numbers is slow to write and to read.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar, NamedTuple

import numpy as np
import orjson
import pybase64

from contract.errors import ApiError
from contract.protocol import EMBEDDINGS_ROUTE, RequestHead, ResponseHead, ResponseItem
from deployments.embedding_input import inputs_of, tokens_of
from deployments.vllm.dialect import Dialect
from deployments.vllm.engine import TOKENIZER, TRIAL_TEXT
from deployments.vllm.errors import ErrorMap
from deployments.vllm.internals.errors import reported
from deployments.vllm.pooling import PoolingDialect, VllmPoolingEngine


class _Tokenized(NamedTuple):
    """A request as vLLM gets it."""

    body: bytes
    wants_numbers: bool


class VllmEmbeddingsEngine(VllmPoolingEngine):
    """An embedding model."""

    dialects: ClassVar[dict[str, Dialect]] = {
        EMBEDDINGS_ROUTE: PoolingDialect(ErrorMap(prompt="input", format="encoding_format", reported=reported)),
        **TOKENIZER,
    }
    trial_route = EMBEDDINGS_ROUTE
    trial_body: ClassVar[dict[str, Any]] = {"input": TRIAL_TEXT}

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        """Always a whole answer."""
        answers = self._embed(request, body) if request.route == EMBEDDINGS_ROUTE else super().answer(request, body)
        async with aclosing(answers) as items:
            async for item in items:
                yield item

    async def _embed(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        tokenized = await self._read(lambda: self._tokenized(body))
        async with aclosing(super().answer(request, tokenized.body)) as items:
            async for item in items:
                if tokenized.wants_numbers and isinstance(item, ResponseHead) and item.body is not None:
                    item = item._replace(body=await asyncio.to_thread(_as_numbers, item.body))  # noqa: PLW2901
                yield item

    def _tokenized(self, body: bytes) -> _Tokenized | ApiError:
        parameters = orjson.loads(body)
        inputs = inputs_of(parameters["input"])
        ids = tokens_of(inputs, self._tokenize, self._limits["context_length"], self._limits["vocabulary_size"])
        if isinstance(ids, ApiError):
            return ids
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
