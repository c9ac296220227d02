"""Three ingress replicas before stand-in models: `python -m tests.faults.three_gateways PORT CONFIG`.

These tests are about budgets and fairness, not about engines. Everything else is real, on a Ray of its own.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from typing import Any

import ray
from ray import serve

from app.builder import ingress_deployment, model_deployment
from app.config.service import parse_config
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, RequestHead, ResponseHead, ResponseItem, Slot, SlotRequest
from deployments.slots import Slots

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
SLOW_SECONDS = 0.5
PIECE, PIECES = b"data: " + b"x" * 65_536 + b"\n\n", 110


class Model:
    """Answers a fixed body: as `alpha` at once, else after a while."""

    def __init__(self, name: str) -> None:
        self._seconds = 0 if name == "alpha" else SLOW_SECONDS
        self._streams = 0
        self._slots = Slots()

    def reconfigure(self, _: dict[str, Any]) -> None:
        """It writes no log whose level could be another."""

    async def slot(self, _: SlotRequest) -> AsyncGenerator[Slot]:
        async for slot in self._slots.hold(self.handle):
            yield slot

    async def handle(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        if json.loads(body).get("stream"):
            async for item in self._stream():
                yield item
            return
        await asyncio.sleep(self._seconds)
        answer = {"usage": USAGE, "open": self._streams, "process": os.getpid()}
        yield ResponseHead(200, "application/json", json.dumps(answer).encode(), USAGE)

    async def _stream(self) -> AsyncGenerator[ResponseItem]:
        """More than fits between it and a reader that reads nothing, and no end."""
        self._streams += 1
        try:
            yield ResponseHead(200, EVENT_STREAM)
            for _ in range(PIECES):
                yield PIECE
            await asyncio.Event().wait()
        finally:
            self._streams -= 1

    async def describe(self) -> dict[str, Any]:
        return Profile("vllm", frozenset({"chat"}), limits={"context_length": 1000}).to_wire()


def main(port: int, args: dict[str, Any]) -> None:
    ray.init(num_cpus=4, include_dashboard=False, logging_level="error", log_to_driver=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": port},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    config = parse_config(args)
    models = {
        entry.id: model_deployment(entry)
        .options(func_or_class=Model, ray_actor_options={"num_cpus": 0.1})
        .bind(entry.id)
        for entry in config.models
    }
    serve.run(ingress_deployment(config).bind(models), blocking=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
