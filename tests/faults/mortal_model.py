"""A model whose prompt says how its engine fails: `python -m tests.faults.mortal_model PORT CONFIG`.

The engine is a stand-in, as these tests are about what becomes of its failures. Everything else is real, on a Ray of
its own. The engine writes what it goes through into the file that `engine_kwargs.journal` names, a word a line.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Self

import orjson
import ray
from ray import serve

from app.builder import ingress_deployment, model_deployment
from app.config.service import parse_config
from contract import sse
from contract.options.catalog import EngineSpec, ServedModel
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, RequestHead, ResponseHead, ResponseItem
from deployments.replica import Engine

SPEC = EngineSpec("vllm", {"chat": "tests.faults.mortal_model:MortalEngine"}, None)
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


class MortalEngine(Engine):
    """Does what the last message of a request says."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._at_work = 0
        self._steps = 0
        self._is_broken = False

    @classmethod
    async def start(cls, model: ServedModel, options: dict[str, Any]) -> Self:  # noqa: ARG003
        return cls(Path(options["journal"]))

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        prompt = orjson.loads(body)["messages"][-1]["content"]
        self._note(prompt)
        self._at_work += 1
        try:
            if prompt == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if prompt == "die later":
                await asyncio.sleep(0.3)
                os.kill(os.getpid(), signal.SIGKILL)
            if prompt == "break":
                self._is_broken = True
                raise RuntimeError("the engine is broken")
            if prompt == "hang at first" and self._journal.read_text().count(prompt) == 1:
                await asyncio.Event().wait()
            if prompt in ("hang", "fall silent"):
                yield ResponseHead(200, EVENT_STREAM)
                yield sse.event({"choices": []})
                while True:
                    await asyncio.sleep(0.1)
                    self._steps += prompt == "fall silent"
            yield ResponseHead(200, body=orjson.dumps({"usage": USAGE}), usage=USAGE)
        except (asyncio.CancelledError, GeneratorExit):
            self._note("cancelled")
            raise
        finally:
            self._at_work -= 1

    def profile(self) -> Profile:
        return Profile("vllm", frozenset({"chat"}), limits={"context_length": 1000})

    async def trial(self) -> None:
        if self._is_broken:
            await asyncio.Event().wait()
        self._note(f"ready {os.getpid()}")

    def unfinished(self) -> int:
        return self._at_work

    def steps(self) -> int:
        return self._steps

    def _note(self, word: str) -> None:
        with self._journal.open("a") as file:
            file.write(word + "\n")


def main(port: int, args: dict[str, Any]) -> None:
    ray.init(num_cpus=4, include_dashboard=False, logging_level="error", log_to_driver=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": port},
        logging_config={"enable_access_log": False},
    )
    config = parse_config(args)
    (entry,) = config.models
    model = ServedModel(
        entry.id, entry.engine, entry.task, "nowhere", entry.engine_kwargs, stall_timeout_s=entry.stall_timeout_s
    )
    serve.run(ingress_deployment(config).bind({entry.id: model_deployment(entry).bind(SPEC, model)}), blocking=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
