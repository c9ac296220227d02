"""What the local chat model's settings are worth on this CPU: python -m benchmarks.local_chat [NAME ...]

`smollm2-135m-instruct` in an engine of its own for each row: as the tests' tiny model is set (`before`), as local.yaml
sets it (`local.yaml`), and with one setting of local.yaml changed. Each answers the same questions at several
concurrencies, 32 tokens each, greedy; repetitive answers are copies of the question's own text. Tokens per second are
of all answers together; the time to the first token is the median. Memory is the proportional set size of the engine's
processes at the end. Writes benchmarks/local_chat.csv, or only the rows that are named.
"""

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import psutil

from app.commands.tune.engine import measure
from app.commands.tune.workload import Prompt
from app.config.model_entry import ModelEntry
from benchmarks.service import LOCAL_CONFIG, TINY_CONFIG, config_entry
from contract.speculation import Ngram

CSV = Path(__file__).with_suffix(".csv")
MODEL = "smollm2-135m-instruct"
TOKENS = 32
HEAD = ["settings", "text", "at_once", "tokens_per_second", "ms_per_token", "ms_to_first_token",
        "start_s", "memory_mb"]  # fmt: skip

SUBJECTS = ("a lighthouse", "an old clock", "a small town", "winter")
COPIED = "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs. "
TEXTS = {
    "story": [
        f"Write a story about {subject}. Begin with the weather and tell who lives there." for subject in SUBJECTS
    ],
    "repetitive": [f"Repeat this text ten times. {subject.capitalize()}: {COPIED * 2}" for subject in SUBJECTS],
}
# Of local.yaml's entry: environment variables, engine_kwargs and others.
CHANGES: dict[str, dict[str, Any]] = {
    "local.yaml": {},
    "1 thread": {"env": {"OMP_NUM_THREADS": "1"}},
    "2 threads": {"env": {"OMP_NUM_THREADS": "2"}},
    "2 threads that sleep": {"env": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}},
    "bfloat16": {"engine_kwargs": {"dtype": "bfloat16"}},
    "compiled": {"env": {"TORCH_COMPILE_DISABLE": "0"}, "engine_kwargs": {"enforce_eager": False}},
    "bound": {"env": {"VLLM_CPU_OMP_THREADS_BIND": "auto", "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
                      "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}},
    "n-gram speculation": {"speculation": Ngram()},
}  # fmt: skip


def entry_of(name: str) -> ModelEntry:
    """The entry of a row."""
    local = config_entry(LOCAL_CONFIG, MODEL)
    if name == "before":
        tiny = config_entry(TINY_CONFIG, "pocket-chat")
        room = {key: local["engine_kwargs"][key] for key in ("max_model_len", "kv_cache_memory_bytes")}
        changed = tiny | {"id": MODEL, "source": local["source"], "engine_kwargs": tiny["engine_kwargs"] | room}
    else:
        changes = {key: local[key] | change for key, change in CHANGES[name].items() if isinstance(change, dict)}
        changed = local | changes
    return ModelEntry.model_validate(changed)


class Watch:
    """Sees how long an engine starts, and what memory its processes hold."""

    def __init__(self) -> None:
        self.start_s = self.memory_mb = 0.0
        self._began = time.perf_counter()

    def __call__(self, event: dict[str, Any]) -> bool:
        if event["event"] == "ready":
            self.start_s = time.perf_counter() - self._began
        if event["event"] == "measured":
            processes = psutil.Process().children(recursive=True)
            self.memory_mb = sum(process.memory_full_info().pss for process in processes) / 2**20
        return True


def rows(name: str, text: str, concurrencies: list[int]) -> list[list[Any]]:
    """One row per concurrency."""
    prompts = [
        Prompt(line, {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": TOKENS,
                      "ignore_eos": True})
        for line, content in enumerate(TEXTS[text], 1)
    ]  # fmt: skip
    watch = Watch()
    speculation = CHANGES.get(name, {}).get("speculation", "off")
    measured = measure(entry_of(name), speculation, prompts, concurrencies, watch)
    if measured is None:
        raise RuntimeError("nothing was measured")
    return [
        [name, text, level.concurrency, f"{level.tokens_per_second:.1f}", f"{1000 * level.seconds_per_token:.1f}",
         f"{1000 * level.seconds_to_first_token:.0f}", f"{watch.start_s:.0f}", f"{watch.memory_mb:.0f}"]
        for level in measured.levels
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(('before', *CHANGES))}")
    parser.add_argument("--text", choices=[*TEXTS], default="story")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args()
    kept = list(csv.reader(CSV.open()))[1:] if CSV.exists() else []
    for name in options.names or ["before", *CHANGES]:
        found = rows(name, options.text, options.at_once)
        kept = [row for row in kept if row[:2] != [name, options.text]] + found
        for row in found:
            print(*row, sep=", ", flush=True)
        with CSV.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEAD, *kept])


if __name__ == "__main__":
    main()
