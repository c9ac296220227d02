"""An echo that fails as its requests ask it to, and reports what was cancelled: `...faults.engine:build`.

The `metadata` of a request, which the gateway hands on as they are, say what is to become of it.
"""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from enum import StrEnum
from typing import Any, NamedTuple, Self

import orjson
from ray.serve import Application

from benchmarks.gateway.answers import COMPLETION, events
from benchmarks.gateway.engine import EchoEngine, build_with
from contract.options.catalog import EngineSpec
from contract.protocol import EVENT_STREAM, RequestHead, ResponseHead, ResponseItem, ResponseTail

SPEC = EngineSpec("vllm", {"chat": "benchmarks.gateway.faults.engine:FaultyEngine"}, None)
HOST = "127.0.0.1"
PROMPT_TOKENS = 1  # in every usage: not what the gateway estimates, so that a settlement that is lost shows


class Mode(StrEnum):
    ANSWER = "answer"  # well, whole or as a stream
    BREAK = "break"  # a stream, off in its midst
    WAIT = "wait"  # for ever
    FAIL = "fail"  # before the first byte
    REPORT = "report"  # what is under way, and what was cancelled


class PlannedAnswer(NamedTuple):
    """What a request asks for."""

    mode: Mode
    chunks: int = 0  # after which a stream breaks off
    tokens: int = 1  # of the answer's usage
    port: int = 0  # a UDP port of this machine, where the client of an answer that waits learns that it has begun

    def metadata(self) -> dict[str, str]:
        return {name: str(value) for name, value in self._asdict().items()}

    @classmethod
    def of(cls, metadata: dict[str, str]) -> Self:
        return cls(Mode(metadata["mode"]), int(metadata["chunks"]), int(metadata["tokens"]), int(metadata["port"]))

    def usage(self) -> dict[str, int]:
        total = PROMPT_TOKENS + self.tokens
        return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": self.tokens, "total_tokens": total}


class Cancelled(NamedTuple):
    """An answer that was cancelled."""

    at: float  # seconds of the machine's monotonic clock
    events: int  # that it had yielded


class Report(NamedTuple):
    """What the engine knows."""

    under_way: int  # answers, this one not counted
    cancelled: dict[str, Cancelled]  # by the request's id

    def to_json(self) -> bytes:
        return orjson.dumps([self.under_way, {name: [*one] for name, one in self.cancelled.items()}])

    @classmethod
    def of(cls, body: bytes) -> Self:
        under_way, cancelled = orjson.loads(body)
        return cls(under_way, {name: Cancelled(*one) for name, one in cancelled.items()})


class FaultyEngine(EchoEngine):
    """Answers, breaks off, waits or fails, as a request asks."""

    def __init__(self) -> None:
        self._under_way = 0
        self._cancelled: dict[str, Cancelled] = {}

    async def answer(self, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
        plan = PlannedAnswer.of(request.echo["metadata"])
        if plan.mode is Mode.REPORT:
            yield ResponseHead(200, body=Report(self._under_way, self._cancelled).to_json())
            return
        yielded = 0
        self._under_way += 1
        try:
            if plan.mode is Mode.WAIT:
                _tell(plan.port, request.request_id)
            async with aclosing(_items(plan, orjson.loads(body))) as items:
                async for item in items:
                    yielded += isinstance(item, bytes)
                    yield item
        except (asyncio.CancelledError, GeneratorExit):
            self._cancelled[request.request_id] = Cancelled(time.monotonic(), yielded)
            raise
        finally:
            self._under_way -= 1


async def _items(plan: PlannedAnswer, asked: dict[str, Any]) -> AsyncGenerator[ResponseItem]:
    if plan.mode is Mode.WAIT:
        await asyncio.Event().wait()
    if plan.mode is Mode.FAIL:
        raise RuntimeError("as the request asked")
    if not asked.get("stream"):
        yield ResponseHead(200, body=COMPLETION, usage=plan.usage())
        return
    yield ResponseHead(200, EVENT_STREAM)
    number = 0
    async for event in events(asked):
        if plan.mode is Mode.BREAK and number == plan.chunks:
            raise RuntimeError("as the request asked, in the midst of its stream")
        yield event
        number += 1
    yield ResponseTail(plan.usage())


def _tell(port: int, request_id: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.sendto(request_id.encode(), (HOST, port))


def build(args: dict[str, Any]) -> Application:
    """The application of the configuration `args`, each of whose models is such an echo."""
    return build_with(SPEC, args)
