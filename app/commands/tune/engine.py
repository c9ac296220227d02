"""Runs the measuring process of one candidate, and stops it and its engine on every path."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

import orjson
import psutil

from app.commands.tune.workload import Prompt, enough
from app.config.model_entry import ModelEntry
from app.telemetry.acceptance import Acceptance
from contract.project import PROJECT_FOLDER
from contract.speculation import ENGINE_ARGUMENTS, Method, Word, to_wire

STOP_SECONDS = 15
LOG_TAIL = 2000  # characters of the engine's output that an error repeats


class EngineFailed(Exception):
    """The engine did not start, died, or refused a prompt."""


@dataclass(frozen=True)
class Level:
    """What was measured at one concurrency."""

    concurrency: int
    tokens_per_second: float
    seconds_per_token: float  # between the tokens of one answer, on average
    acceptance: Acceptance
    seconds_to_first_token: float = 0.0  # at the median


@dataclass(frozen=True)
class Measured:
    """What was measured of one candidate."""

    speculation: dict[str, Any] | None  # as the engine reports it
    levels: tuple[Level, ...]


def measure(
    entry: ModelEntry,
    speculation: Word | Method,
    prompts: list[Prompt],
    concurrencies: list[int],
    on_event: Callable[[dict[str, Any]], bool],
) -> Measured | None:
    """Start the model of `entry` with `speculation` and send it all prompts at each concurrency.

    `on_event` sees each event of `deployments.vllm.tuning`; where it returns false, nothing more is measured and
    the result is None. Raises EngineFailed.
    """
    found: dict[str, Any] | None = None
    levels: list[Level] = []
    arguments = {name: value for name, value in entry.engine_kwargs.items() if name not in ENGINE_ARGUMENTS}
    job = {
        "model": entry.served()._replace(engine_kwargs=arguments, speculation=to_wire(speculation))._asdict(),
        "warm_up": _level(prompts, max(concurrencies)),
        "levels": [_level(prompts, concurrency) for concurrency in concurrencies],
    }
    with _process(job, entry.environment()) as (events, log):
        for event in map(orjson.loads, events):
            if event["event"] == "failed":
                where = f"line {event['line']} of the workload: " if event["line"] else ""
                more = "" if event["explained"] else f"\nThe end of the engine's log:\n{_tail(log)}"
                raise EngineFailed(f"{where}{event['message']}{more}")
            if not on_event(event):
                return None
            if event["event"] == "ready":
                found = event["speculation"]
            elif event["event"] == "measured":
                levels.append(_measured(event))
        if len(levels) < len(concurrencies):
            raise EngineFailed(f"the engine's process ended. The end of its log:\n{_tail(log)}")
    return Measured(found, tuple(levels))


def _level(prompts: list[Prompt], concurrency: int) -> dict[str, Any]:
    requests = [{"line": prompt.line, "body": prompt.body} for prompt in enough(prompts, concurrency)]
    return {"concurrency": concurrency, "requests": requests}


def _measured(event: dict[str, Any]) -> Level:
    acceptance = Acceptance(event["drafts"], event["draft_tokens"], event["accepted_tokens"])
    return Level(
        event["concurrency"],
        event["tokens_per_second"],
        event["seconds_per_token"],
        acceptance,
        event["seconds_to_first_token"],
    )


@contextmanager
def _process(job: dict[str, Any], environment: dict[str, str]) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The process under way: its events, and what it and its engine print."""
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as log, os.fdopen(reading, "rb") as events:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "deployments.vllm.tuning", str(writing)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=PROJECT_FOLDER,
            env=os.environ | environment,
            pass_fds=[writing],
            start_new_session=True,  # Ctrl-C reaches this process only, which then stops the other
        )
        os.close(writing)
        try:
            if process.stdin is not None:
                with suppress(BrokenPipeError):  # it died at once; its log has the reason
                    process.stdin.write(orjson.dumps(job) + b"\n")
                    process.stdin.flush()  # it stays open: the process ends when it closes
            yield events, log
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the process and all that it started."""
    try:
        started = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        started = []
    process.terminate()
    _, alive = psutil.wait_procs([psutil.Process(process.pid), *started] if process.poll() is None else started, 5)
    for one in alive:
        one.kill()
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
    process.wait(STOP_SECONDS)


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")[-LOG_TAIL:].strip()
