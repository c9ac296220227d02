"""A running vLLM engine, and the server application that answers for it."""

import argparse
from pathlib import Path
from typing import Any

from contract.profile import Profile
from deployments.vllm.errors import presentable
from deployments.vllm.internals.engine_reports import EngineReports
from deployments.vllm.internals.profile import profile_of
from deployments.vllm.lora_adapters import LoraLimits
from deployments.vllm.lora_files import MisfitError
from deployments.vllm.speculation_choice import SpeculationChoice


class VllmServer:
    """A running vLLM engine and the ASGI application that serves it: vLLM's own server, without a socket."""

    def __init__(
        self,
        engine: Any,
        app: Any,
        arguments: argparse.Namespace,
        *,
        reports: EngineReports | None = None,
        choice: SpeculationChoice | None = None,
    ) -> None:
        """`reports` is filled by a logger of the engine; `choice` is what `speculation: auto` came to, if at all."""
        self.app = app
        self._reports = reports or EngineReports()
        self._engine = engine
        self._arguments = arguments
        self._choice = choice

    async def check_health(self) -> None:
        """Raise where the engine is dead; it never comes back by itself."""
        await self._engine.check_health()

    def tokenizer(self) -> Any:
        """The model's tokenizer, of transformers. It is the engine's own, so copy it before another thread uses it."""
        return self._engine.get_tokenizer()

    def profile(self) -> Profile:
        """What the model, its template and this engine's configuration make possible."""
        return profile_of(self._engine, self.app, self._arguments, self._choice)

    def lora_limits(self) -> LoraLimits | None:
        """How many LoRA adapters it holds, and how large they may be; None where it was started without them."""
        config = self._engine.vllm_config.lora_config
        return config and LoraLimits(config.max_lora_rank, config.max_cpu_loras)

    async def load_lora(self, adapter_id: str, number: int, folder: Path) -> None:
        """Load a LoRA adapter, so that requests may name it as their model. Raises MisfitError."""
        from vllm.lora.request import LoRARequest

        adapter = LoRARequest(adapter_id, number, str(folder))
        try:
            await self._engine.add_lora(adapter)
        except Exception as error:  # what the worker raised comes as a plain one, with its message
            await self._engine.check_health()
            await self._engine.remove_lora(number)  # a part of it may be there
            message = str(error).rpartition(" method failed: ")[2].replace(str(folder), "it").rstrip(".")
            raise MisfitError(presentable(message)) from error
        self.app.state.openai_serving_models.lora_requests[adapter_id] = adapter

    async def leave_lora(self, adapter_id: str, number: int) -> None:
        """Free what `load_lora` has loaded; no request may be for it."""
        del self.app.state.openai_serving_models.lora_requests[adapter_id]
        await self._engine.remove_lora(number)

    def kv_cache_usage(self) -> float:
        """The share of the KV cache that running requests hold, in 0..1, as of the engine's last step."""
        # The last step of all leaves its own usage behind.
        return max(self._reports.kv_cache_usage.values(), default=0.0) if self.unfinished_requests() else 0.0

    def unfinished_requests(self) -> int:
        return int(self._engine.get_num_unfinished_requests())

    def steps(self) -> int:
        """Reports of the engine's steps so far; a part of a long prefill is one as well."""
        return self._reports.steps

    def shutdown(self) -> None:
        """It may be called again."""
        self._engine.shutdown()
