"""This gateway before an engine that answers without a model: `import_path: benchmarks.gateway.engine:build`.

Everything else is what `app.builder:build` builds.
"""

from collections.abc import AsyncGenerator
from typing import Any, Self

import orjson
from ray.serve import Application

from app.builder import ingress_deployment, model_deployment
from app.config.service import parse_config
from benchmarks.gateway.answers import COMPLETION, USAGE, events
from contract.options.catalog import EngineSpec, ServedModel
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, RequestHead, ResponseHead, ResponseItem, ResponseTail
from deployments.replica import Engine

SPEC = EngineSpec("vllm", {"chat": "benchmarks.gateway.engine:EchoEngine"}, None)
CONTEXT = 1_000_000  # tokens; a prompt of 1 MB fits


class EchoEngine(Engine):
    """Answers at once, or at the rate that the request names."""

    @classmethod
    async def start(cls, model: ServedModel, options: Any) -> Self:  # noqa: ARG003
        return cls()

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:  # noqa: ARG002
        asked = orjson.loads(body)
        if not asked.get("stream"):
            yield ResponseHead(200, body=COMPLETION, usage=USAGE)
            return
        yield ResponseHead(200, EVENT_STREAM)
        async for event in events(asked):
            yield event
        yield ResponseTail(USAGE)

    def profile(self) -> Profile:
        return Profile("vllm", frozenset({"chat"}), limits={"context_length": CONTEXT})

    async def trial(self) -> None:
        """There is nothing that could fail."""


def build(args: dict[str, Any]) -> Application:
    """The application of the configuration `args`, each of whose models is an echo."""
    return build_with(SPEC, args)


def build_with(spec: EngineSpec, args: dict[str, Any]) -> Application:
    """The application of the configuration `args`, each of whose models has the engine of `spec`."""
    config = parse_config(args)
    models = {entry.id: model_deployment(entry).bind(spec, entry.served()) for entry in config.models}
    return ingress_deployment(config).bind(models)
