"""What models of vLLM's pooling runner share: whole answers, and texts that are counted here, to name bad ones."""

import asyncio
import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

import orjson

from contract.errors import ApiError
from contract.protocol import RequestHead
from deployments.vllm.dialect import EventStream
from deployments.vllm.engine import VllmEngine
from deployments.vllm.errors import ErrorMap
from deployments.vllm.internals.server import VllmServer
from deployments.vllm.lora_adapters import LoraAdapters

Found = TypeVar("Found")


class PoolingDialect:
    """A route whose answers are never streamed. What is kept of one is `kept`."""

    kept: ClassVar[tuple[str, ...]] = ("object", "data", "model")

    def __init__(self, errors: ErrorMap) -> None:
        self.errors = errors

    def question(self, body: bytes, _: RequestHead) -> bytes:
        return body

    def body(self, body: bytes, _: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        answer = orjson.loads(body)
        usage = {name: answer["usage"][name] for name in ("prompt_tokens", "total_tokens")}
        return orjson.dumps({name: answer[name] for name in self.kept} | {"usage": usage}), usage

    def stream(self, _: RequestHead) -> EventStream:
        raise TypeError("answers of this route are never streamed")


class VllmPoolingEngine(VllmEngine):
    """A model that makes something else of texts than text."""

    arguments: ClassVar[dict[str, Any]] = {"runner": "pooling"}
    trial_route: ClassVar[str]
    trial_body: ClassVar[dict[str, Any]]

    def trial_request(self) -> tuple[str, dict[str, Any]]:
        return self.trial_route, self.trial_body

    def __init__(self, model_id: str, server: VllmServer, adapters: LoraAdapters | None = None) -> None:
        super().__init__(model_id, server, adapters)
        self._tokenizer = copy.deepcopy(server.tokenizer())
        self._limits = server.profile().limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")  # it is not safe in several

    async def _read(self, read: Callable[[], Found | ApiError]) -> Found:
        """What `read` finds with the tokenizer, in its thread. Raises ApiError where a text is at fault."""
        found = await asyncio.get_running_loop().run_in_executor(self._thread, read)
        if isinstance(found, ApiError):
            raise found
        return found

    def close(self) -> None:
        super().close()
        self._thread.shutdown(wait=False)
