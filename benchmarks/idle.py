"""What a service takes of the CPU while nobody asks it anything: python -m benchmarks.idle NAME

`python -m app serve serve_configs/local.yaml`, as `make serve` runs it, for a minute after its five models are up:
milliseconds of CPU time in a second, by process. Replaces the rows of NAME in benchmarks/idle.csv.
"""

import argparse
import csv
import re
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.start_time import measure, started

CSV = Path(__file__).with_suffix(".csv")
HEAD = ["service", "process", "cpu_ms_per_second"]
SETTLE_SECONDS, SECONDS = 25.0, 60.0
LEAST = 0.5  # ms; processes under it are no row
TOTAL = "all"
# What a process is called where its command line has this.
NAMES = {
    "forkserver": "server of vLLM's forks",
    "gcs_server": "GCS",
    "raylet/raylet": "raylet",
    "log_monitor": "log monitor",
    "haproxy/haproxy": "HAProxy",
    "app.commands.serve_run": "driver",
    "app serve": "portico serve",
    "espeak": "espeak-ng",
}


def name_of(command: str) -> str:
    """`ray::ServeReplica:portico:gateway` of Ray's own processes, which name themselves."""
    known = (name for mark, name in NAMES.items() if mark in command)
    return next(known, re.split(r"[ .]", command, maxsplit=1)[0])


def measured() -> dict[str, float]:
    """Milliseconds in a second by process, the largest first, and of all."""
    with started() as start:
        measure(start)
        time.sleep(SETTLE_SECONDS)
        before, began = start.used(), time.monotonic()
        time.sleep(SECONDS)
        after, seconds = start.used(), time.monotonic() - began
    found: dict[str, float] = {}
    for process, (command, used) in after.items():  # by process: Ray's are called what they do now
        _, earlier = before.get(process, ("", 0.0))
        name = name_of(command)
        found[name] = found.get(name, 0.0) + 1000 * (used - earlier) / seconds
    largest = sorted(found.items(), key=lambda one: -one[1])
    return {TOTAL: sum(found.values())} | {name: value for name, value in largest if value >= LEAST}


def write(service: str, found: Mapping[str, float]) -> None:
    kept = [row for row in csv.reader(CSV.open()) if row[0] not in (service, HEAD[0])] if CSV.exists() else []
    new = [[service, name, f"{value:.1f}"] for name, value in found.items()]
    with CSV.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEAD, *kept, *new])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle")
    parser.add_argument("name", help="what the service is called in the CSV, such as `now`")
    name = parser.parse_args().name
    found = measured()
    write(name, found)
    for process, value in found.items():
        print(f"{value:6.1f} ms  {process}")


if __name__ == "__main__":
    main()
