"""Measures one way of speculation on a real engine: `python -m deployments.vllm.tuning EVENTS`.

Run by `python -m app tune`.

Reads one line from stdin, a job as JSON: `model` (a `ServedModel`), `warm_up` and `levels`. A level is a `concurrency`
and the `requests` that are asked, each a `line` and a `body`. Writes one JSON object a line to the file descriptor
EVENTS: `ready`, `answered` for each request, `measured` for each level; or `failed`. When stdin ends, this process ends
too, with its engine.
"""

import asyncio
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from contract.options.catalog import ServedModel
from contract.protocol import CHAT_ROUTE
from contract.sse import Splitter
from deployments.vllm.arguments import EngineArgumentError
from deployments.vllm.asgi import AsgiCall
from deployments.vllm.dialect import data_of
from deployments.vllm.errors import ErrorMap
from deployments.vllm.internals.errors import reported
from deployments.vllm.internals.server import VllmServer
from deployments.vllm.internals.server_start import start_server

HEADERS = [(b"content-type", b"application/json")]
COUNTED = {"per_request_spec_decode_metrics": "summary"}  # vLLM takes it for a speculating engine only
ERRORS = ErrorMap(prompt="messages", format="response_format", reported=reported)
Emit = Callable[[dict[str, Any]], None]


class RequestFailed(Exception):
    """The engine refused a request."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass
class Answered:
    """One answer: seconds to its first token and from there to its last, its tokens, and what became of its drafts."""

    waited: float
    seconds: float
    tokens: int
    drafts: int
    draft_tokens: int
    accepted_tokens: int


async def ask(server: VllmServer, model_id: str, request: dict[str, Any]) -> Answered:
    """Ask one request, streaming. Raises RequestFailed."""
    body = orjson.dumps(
        request["body"] | {"model": model_id, "stream": True, "stream_options": {"include_usage": True}}
    )
    first = last = 0.0
    tokens, events = 0, Splitter()
    counted: dict[str, int] = {}
    start = time.perf_counter()
    async with AsgiCall(server.app, CHAT_ROUTE, HEADERS, body) as call:
        status, _ = await call.start()
        if status >= 400:
            raise RequestFailed(request["line"], ERRORS.of_answer(status, await call.read()).message)
        async for piece in call.pieces():
            for data in map(data_of, events.feed(piece)):
                if data == b"[DONE]":
                    continue
                chunk = orjson.loads(data)
                if "error" in chunk:
                    error = ERRORS.of_answer(chunk["error"].get("code") or 500, data)
                    raise RequestFailed(request["line"], error.message)
                if chunk["choices"]:
                    last = time.perf_counter()
                    first = first or last
                else:
                    tokens = chunk["usage"]["completion_tokens"]
                    counted = (chunk.get("metrics") or {}).get("speculative_decoding") or {}
    return Answered(
        first - start,
        last - first,
        tokens,
        counted.get("num_spec_steps", 0),
        counted.get("num_draft_tokens", 0),
        counted.get("num_accepted_draft_tokens", 0),
    )


async def measure_level(server: VllmServer, model_id: str, level: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Ask all requests of a level, so many at once. Returns what was measured."""
    waiting = iter(level["requests"])
    answers: list[Answered] = []

    async def client() -> None:
        for request in waiting:
            answers.append(await ask(server, model_id, request))
            emit({"event": "answered"})

    start = time.perf_counter()
    async with asyncio.TaskGroup() as clients:
        for _ in range(level["concurrency"]):
            clients.create_task(client())
    seconds = time.perf_counter() - start
    tokens = sum(answer.tokens for answer in answers)
    between = [answer.seconds / (answer.tokens - 1) for answer in answers if answer.tokens > 1]
    return {
        "event": "measured",
        "concurrency": level["concurrency"],
        "tokens_per_second": tokens / seconds,
        "seconds_to_first_token": statistics.median(answer.waited for answer in answers),
        "seconds_per_token": sum(between) / len(between) if between else 0.0,
        "drafts": sum(answer.drafts for answer in answers),
        "draft_tokens": sum(answer.draft_tokens for answer in answers),
        "accepted_tokens": sum(answer.accepted_tokens for answer in answers),
    }


async def measure(job: dict[str, Any], emit: Emit) -> None:
    """Start the engine, warm it up, and measure every level."""
    model = ServedModel(**job["model"])
    counted = {} if model.speculation == "off" else COUNTED
    server = await start_server(model._replace(engine_kwargs=model.engine_kwargs | counted))
    try:
        emit({"event": "ready", "speculation": server.profile().speculation})
        await measure_level(server, model.id, job["warm_up"], lambda _: None)
        for level in job["levels"]:
            emit(await measure_level(server, model.id, level, emit))
    finally:
        server.shutdown()


def end_with_stdin() -> None:
    """Once nobody holds the other end of stdin, end this process and all that it started: they are one group."""
    sys.stdin.buffer.read()
    os.killpg(os.getpgrp(), signal.SIGKILL)


def first_of(error: BaseException) -> BaseException:
    """The first failure of a group of tasks."""
    return first_of(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def main() -> int:
    job = orjson.loads(sys.stdin.buffer.readline())
    events = os.fdopen(int(sys.argv[1]), "wb", buffering=0)
    threading.Thread(target=end_with_stdin, daemon=True).start()

    def emit(event: dict[str, Any]) -> None:
        events.write(orjson.dumps(event) + b"\n")

    try:
        asyncio.run(measure(job, emit))
    except Exception as raised:
        error = first_of(raised)
        explained = isinstance(error, RequestFailed | EngineArgumentError)
        line = error.line if isinstance(error, RequestFailed) else None
        message = str(error) or type(error).__name__
        emit({"event": "failed", "line": line, "message": message, "explained": explained})
        if not explained:
            raise
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
