"""How fast the local chat model answers on this CPU: python -m benchmarks.local_chat [NAME ...]

Serves `smollm2-135m-instruct` alone, through the whole service, for each row: as local.yaml sets it, or with one of its
settings changed (see CHANGES). So many clients at once each ask two different questions and stream 32 tokens, greedy.
Tokens per second are of all answers together; the time to the first token is the median. Memory is that of the replica
and of its engine (proportional set size), after the answers. Rows that are not named are kept in
benchmarks/local_chat.csv.
"""

import argparse
import asyncio
import csv
import statistics
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.service import HEADERS, LOCAL_CONFIG, config_entry, serving
from deployments.vllm.engine_process import IMPORTS

CSV = Path(__file__).with_suffix(".csv")
MODEL = "smollm2-135m-instruct"
TOKENS = 32
QUESTIONS_OF_A_CLIENT = 2
HEAD = ["settings", "at_once", "tokens_per_second", "ms_to_first_token", "memory_mb"]
SUBJECTS = ("a lighthouse", "an old clock", "a small town", "winter", "the sea", "a train", "the forest", "a library",
            "the moon", "a garden", "a river", "a bridge", "a market", "an island", "the desert", "a mill")  # fmt: skip
# Of local.yaml's entry.
CHANGES: dict[str, dict[str, Any]] = {
    "local.yaml": {},
    "1 thread": {"env": {"OMP_NUM_THREADS": "1"}},
    "bfloat16": {"engine_kwargs": {"dtype": "bfloat16"}},
    "compiled": {"env": {"TORCH_COMPILE_DISABLE": "0"}, "engine_kwargs": {"enforce_eager": False}},
    "n-gram speculation": {"speculation": {"method": "ngram"}},
}


def entry_of(name: str) -> dict[str, Any]:
    """The entry of a row."""
    local = config_entry(LOCAL_CONFIG, MODEL)
    return local | {key: local.get(key, {}) | change for key, change in CHANGES[name].items()}


async def ask(client: httpx.AsyncClient, subject: str) -> float:
    """Seconds to the first token."""
    question = f"Write a story about {subject}. Begin with the weather and tell who lives there."
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": TOKENS,
            "ignore_eos": True, "stream": True}  # fmt: skip
    start, first = time.perf_counter(), 0.0
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if not first and '"content":"' in line:
                first = time.perf_counter() - start
    return first


async def level(url: str, at_once: int) -> list[str]:
    """Tokens per second and milliseconds to the first token of so many clients."""
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=300) as client:

        async def one(number: int) -> list[float]:
            turns = range(QUESTIONS_OF_A_CLIENT)
            return [await ask(client, SUBJECTS[(number + 5 * turn) % len(SUBJECTS)]) for turn in turns]

        start = time.perf_counter()
        waited = [
            seconds for client_waits in await asyncio.gather(*map(one, range(at_once))) for seconds in client_waits
        ]
        seconds = time.perf_counter() - start
    return [f"{len(waited) * TOKENS / seconds:.1f}", f"{1000 * statistics.median(waited):.0f}"]


def memory_mb() -> float:
    """Of the model's replica and its engine, where nothing else on this machine serves it."""
    found = (one for one in psutil.process_iter() if is_of_the_model(one))
    return sum(one.memory_full_info().pss for one in found) / 2**20


def is_of_the_model(process: psutil.Process) -> bool:
    try:
        name = " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return False
    is_replica = name.startswith("ray::ServeReplica") and MODEL in name
    return is_replica or name.startswith("VLLM::EngineCore") or IMPORTS in name


def rows(url: str, name: str, concurrencies: list[int]) -> list[list[str]]:
    asyncio.run(level(url, max(concurrencies)))  # the first answers find nothing warm
    found = [[name, str(at_once), *asyncio.run(level(url, at_once))] for at_once in concurrencies]
    memory = f"{memory_mb():.0f}"
    return [[*row, memory] for row in found]


def write(found: list[list[str]]) -> None:
    """Put rows in the place of those of the same name."""
    kept = list(csv.reader(CSV.open()))[1:] if CSV.exists() else []
    names = {row[0] for row in found}
    with CSV.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEAD, *[row for row in kept if row[0] not in names], *found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*CHANGES], metavar="NAME", help=", ".join(CHANGES))
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args()
    for name in options.names:
        with serving(entry_of(name)) as url:
            found = rows(url, name, options.at_once)
        write(found)
        for row in found:
            print(*row, sep=", ", flush=True)


if __name__ == "__main__":
    main()
