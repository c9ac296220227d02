"""The logs of a model's replicas on this machine: what each printed, and what Serve wrote of it."""

import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

NAME_LINES = 4  # Ray writes an actor's name within the first lines of its output
ACTOR = re.compile(r"^:actor_name:ServeReplica:[^:]+:(?P<model>.+)$")
MARKS = re.compile(r"^:(actor_name|task_name|job_id):")
SERVE_LOG = re.compile(r"replica_[^_]+_(?P<model>.+)_[^_]+\.log")
POLL_SECONDS = 0.5


def logs_of(folder: Path, model: str | None = None) -> dict[str, list[Path]]:
    """The files of each model in Ray's folder of logs, or of one, oldest first. Without words none is listed."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("worker-*.*"), key=_age) + sorted(folder.glob("serve/replica_*.log"), key=_age):
        name = _model_of(path)
        if name is not None and model in (None, name):
            found.setdefault(name, []).append(path)
    return found


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file, without the marks with which Ray says whose they are."""
    with path.open(errors="replace") as file:
        return [line.rstrip("\n") for line in deque(_said(file), maxlen=count)]


def followed(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """New lines of files as they come, for ever. What is there already is left out."""
    files = {path: path.open(errors="replace") for path in paths}
    try:
        for file in files.values():
            file.seek(0, 2)
        while True:
            said = False
            for path, file in files.items():
                for line in _said(file):
                    said = True
                    yield path, line.rstrip("\n")
            if not said:
                time.sleep(POLL_SECONDS)
    finally:
        for file in files.values():
            file.close()


def _said(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if not MARKS.match(line))


def _model_of(path: Path) -> str | None:
    if match := SERVE_LOG.fullmatch(path.name):
        return match["model"]
    with path.open(errors="replace") as file:
        for _ in range(NAME_LINES):
            if match := ACTOR.match(file.readline()):
                return match["model"]
    return None


def _age(path: Path) -> float:
    return path.stat().st_mtime
