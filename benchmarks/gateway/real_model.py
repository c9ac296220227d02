"""A real model behind this gateway and behind vLLM's own server, with the same arguments of the engine.

The local chat model, as local.yaml has it, and 32 clients that each ask two questions, as in `benchmarks.local_chat`.
The median of several rounds counts. Writes benchmarks/gateway_model.csv; servers that are not named keep their rows.
"""

import asyncio
import csv
import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from benchmarks.gateway.processes import kind_of_a_peer
from benchmarks.gateway.systems import (
    HOST,
    System,
    gateway,
    gateway_args,
    own_folder,
    started,
    wait_until,
)
from benchmarks.local_chat import MODEL, level
from benchmarks.service import LOCAL_CONFIG, config_entry
from benchmarks.time_to_first_token import vllm_command
from contract.project import PROJECT_FOLDER
from tests.own_ports import free_port

CSV = PROJECT_FOLDER / "benchmarks" / "gateway_model.csv"
HEAD = ["server", "clients", "tokens_per_second", "ms_to_first_token"]
CLIENTS, WARM_UP_CLIENTS = 32, 4
ROUNDS = 2


@contextmanager
def vllm_server() -> Iterator[System]:
    with own_folder() as folder:
        port = free_port()
        with started([*vllm_command(LOCAL_CONFIG, port)], port, folder, kind_of_a_peer, {}) as system:
            wait_until(lambda: system.get("/health"), system, folder)
            yield system


def real_gateway(*, production: bool) -> AbstractContextManager[System]:
    args = gateway_args(config_entry(LOCAL_CONFIG, MODEL))
    return gateway("app.builder:build", args, production=production)


VLLM = "vllm"
SERVERS: dict[str, Callable[[], AbstractContextManager[System]]] = {
    VLLM: vllm_server,
    "portico": partial(real_gateway, production=True),
    "portico-local": partial(real_gateway, production=False),
}


def measure(names: list[str]) -> None:
    """Measure servers, one after the other, and put their rows in the place of those that were there."""
    for name in names:
        rounds = []
        with SERVERS[name]() as system:
            url = f"http://{HOST}:{system.port}"
            asyncio.run(level(url, WARM_UP_CLIENTS))  # the first answers find nothing warm
            for _ in range(ROUNDS):
                rounds.append([float(value) for value in asyncio.run(level(url, CLIENTS))])
                print(name, *rounds[-1], sep=", ", flush=True)
        rate, first = map(statistics.median, zip(*rounds, strict=True))
        write({name: [name, str(CLIENTS), f"{rate:.1f}", f"{first:.0f}"]})


def write(found: dict[str, list[str]]) -> None:
    kept = {row[0]: row for row in list(csv.reader(CSV.open()))[1:]} if CSV.exists() else {}
    rows = kept | found
    with CSV.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEAD, *(rows[name] for name in SERVERS if name in rows)])
