"""How long a start takes until the first token of a chat, and until all is up: python -m benchmarks.start_time NAME

`python -m app serve serve_configs/local.yaml`, as `make serve` runs it once everything is fetched: the second start. A
phase is over when it is seen from outside: a process is there, a port answers, GET /v1/models lists a model. Seconds
since the command began, and the CPU seconds of all its processes until then, as they are looked at 5 times a second.
Replaces the rows of NAME in benchmarks/start_time.csv, and writes the table of docs/models.md anew. `--processes` says
which processes used the CPU.
"""

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import yaml

from app.commands.banner import FIRST_QUESTION
from benchmarks.service import HEADERS, LOCAL_CONFIG, PORT, URL
from contract.project import PROJECT_FOLDER

CSV = Path(__file__).with_suffix(".csv")
HEAD = ["start", "phase", "seconds", "cpu_seconds"]
SHOWN = ("before", "now")  # the starts of the table: all models at once by `serve run`; as it is
PAGE = PROJECT_FOLDER / "docs" / "models.md"
BEGIN, END = "<!-- from benchmarks/start_time.csv -->\n", "<!-- end -->\n"
FIRST_TOKEN = "first token of a chat"  # noqa: S105 - a phase
ALL_READY = "every model is ready"
LOOK_SECONDS = 0.2
LIMIT_SECONDS = 300
# Each is there once a process has this in its command line.
PROCESSES = {
    "raylet": "core/src/ray/raylet/raylet",
    "Serve's controller": "ray::ServeController",
    "the gateway's replica": "ray::ServeReplica:portico:gateway",
}


class Start:
    """One start of the service: what it has reached, and the CPU time of its processes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._root = psutil.Process(process.pid)
        self._began = self._root.create_time()
        self._cpu: dict[psutil.Process, float] = {}  # seconds, also of those that have ended
        self._names: dict[psutil.Process, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on)
        self.phases: dict[str, tuple[float, float]] = {}  # -> seconds, CPU seconds
        self._thread.start()

    def reached(self, phase: str) -> None:
        if phase not in self.phases:
            self.phases[phase] = time.time() - self._began, sum(self._cpu.copy().values())

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def by_process(self) -> Counter[str]:
        """CPU seconds by what the processes are called."""
        found: Counter[str] = Counter()
        for process, seconds in self._cpu.items():
            found[self._names[process]] += seconds  # type: ignore[assignment]
        return found

    def used(self) -> dict[psutil.Process, tuple[str, float]]:
        """What each process is called now, and its CPU seconds."""
        return {process: (self._names[process], seconds) for process, seconds in self._cpu.copy().items()}

    def _look_on(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            with suppress(psutil.Error):
                self._look()

    def _look(self) -> None:
        for process in [self._root, *self._root.children(recursive=True)]:
            with suppress(psutil.Error):  # it has just ended
                times = process.cpu_times()
                self._cpu[process] = times.user + times.system
                self._names[process] = command = " ".join(process.cmdline()) or self._names.get(process, "")
                for phase, mark in PROCESSES.items():
                    if mark in command:
                        self.reached(phase)


@contextmanager
def started() -> Iterator[Start]:
    content = yaml.safe_load(LOCAL_CONFIG.read_text())
    content["http_options"]["port"] = PORT
    with tempfile.TemporaryDirectory(prefix="portico-") as folder:
        config = Path(folder) / "local.yaml"
        config.write_text(yaml.safe_dump(content, sort_keys=False))
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "app", "serve", str(config)],
            env=os.environ | {"RAY_TMPDIR": folder},
            cwd=PROJECT_FOLDER,
        )
        start = Start(process)
        try:
            yield start
        finally:
            start.close()
            process.send_signal(signal.SIGINT)
            process.wait(60)


def measure(start: Start) -> None:
    """Follow a start until every model is up, with one chat as soon as that is possible."""
    models = yaml.safe_load(LOCAL_CONFIG.read_text())["applications"][0]["args"]["models"]
    chat = next(entry["id"] for entry in models if entry["task"] == "chat")
    missing = {entry["id"] for entry in models}
    deadline = time.monotonic() + LIMIT_SECONDS
    with httpx.Client(base_url=URL, headers=HEADERS, timeout=60) as client:
        while missing:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{', '.join(sorted(missing))}: not up after {LIMIT_SECONDS} s")
            for model in sorted(_listed(client) & missing):
                start.reached(f"{model} is ready")
                missing.remove(model)
                if model == chat:
                    _first_token(client, chat)
                    start.reached(FIRST_TOKEN)
            time.sleep(LOOK_SECONDS)
    start.reached(ALL_READY)


def _listed(client: httpx.Client) -> set[str]:
    with suppress(httpx.TransportError, KeyError):
        return {model["id"] for model in client.get("/v1/models").json()["data"]}
    return set()


def _first_token(client: httpx.Client, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": FIRST_QUESTION}], "max_tokens": 8, "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        if not any('"content":"' in line and '"content":""' not in line for line in answer.iter_lines()):
            raise RuntimeError("the first chat had no token")


def write(name: str, start: Start) -> None:
    kept = [row for row in read() if row["start"] != name] if CSV.exists() else []
    new = [
        dict(zip(HEAD, (name, phase, f"{seconds:.1f}", f"{cpu:.1f}"), strict=True))
        for phase, (seconds, cpu) in start.phases.items()
    ]
    with CSV.open("w", newline="") as file:
        rows = csv.DictWriter(file, HEAD, lineterminator="\n")
        rows.writeheader()
        rows.writerows(kept + new)


def read() -> list[dict[str, str]]:
    with CSV.open(newline="") as file:
        return list(csv.DictReader(file))


def table(rows: list[dict[str, str]]) -> str:
    """The starts of `SHOWN` beside each other, in Markdown."""
    cells = {(row["start"], row["phase"]): f"{row['seconds']} s, {row['cpu_seconds']}" for row in rows}
    phases = list(dict.fromkeys(row["phase"] for row in rows if row["start"] == SHOWN[-1]))
    lines = [f"| | {' | '.join(SHOWN)} |", "|---|" + "---|" * len(SHOWN)]
    lines += [f"| {phase} | {' | '.join(cells.get((name, phase), '-') for name in SHOWN)} |" for phase in phases]
    return "\n".join(lines) + "\n"


def parts(text: str) -> tuple[str, str, str]:
    """What stands before the table, the table, and what stands after it. Raises ValueError where it has no place."""
    before, begin, rest = text.partition(BEGIN)
    shown, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has no lines {BEGIN!r} and {END!r}")
    return before + begin, shown, end + after


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start_time")
    parser.add_argument("name", help="what the start is called in the CSV, such as `after`")
    parser.add_argument("--processes", action="store_true", help="print which processes used the CPU")
    options = parser.parse_args()
    with started() as start:
        measure(start)
    write(options.name, start)
    before, _, after = parts(PAGE.read_text())
    PAGE.write_text(before + table(read()) + after)
    for phase, (seconds, cpu) in start.phases.items():
        print(f"{seconds:6.1f} s {cpu:6.1f} CPU s  {phase}")
    if options.processes:
        for command, used in start.by_process().most_common():
            print(f"{used:6.1f} CPU s  {command[:150]}")


if __name__ == "__main__":
    main()
