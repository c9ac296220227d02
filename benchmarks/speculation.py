"""Tokens per second with and without speculation: python -m benchmarks.speculation

pocket-chat as tiny.yaml runs it, in an engine of its own for each speculative method, with the same prompts at
several concurrencies, several rounds each; the median counts. Repetitive text is greedy: the model then says a few
tokens again and again. Free text is sampled at temperature 1, which for random weights is close to noise, so that a
draft is right by chance only. Real text lies between these ends. Writes benchmarks/speculation.csv.

The models have 100 thousand weights: a step costs what Python costs, not what the weights cost. So the figures show the
mechanism, and what a draft that is accepted or rejected does to the number of steps; not what a GPU gains.
"""

import argparse
import csv
import statistics
import sys
from pathlib import Path
from typing import Any

from app.commands.tune.candidates import name_of
from app.commands.tune.engine import Level, measure
from app.commands.tune.workload import Prompt
from app.config.model_entry import ModelEntry
from app.config.service import read_serve_config
from benchmarks.service import TINY_CONFIG
from contract.speculation import DraftModel, Method, Ngram, Word
from local_models.chat import CORPUS

CSV = Path(__file__).with_suffix(".csv")
MODEL = "pocket-chat"
SPECULATIONS: tuple[Word | Method, ...] = ("off", Ngram(), DraftModel(model="./local_models/pocket-draft"))
TEXTS: dict[str, dict[str, Any]] = {
    "repetitive": {"temperature": 0},
    "free": {"temperature": 1, "seed": 7},
}
HEAD = ["text", "speculation", "at_once", "tokens_per_second", "times_off", "ms_per_token", "acceptance_rate",
        "mean_accepted_length"]  # fmt: skip


def prompts(settings: dict[str, Any], max_tokens: int) -> list[Prompt]:
    shared = settings | {"max_tokens": max_tokens, "ignore_eos": True}
    texts = enumerate(CORPUS * 2, 1)
    return [Prompt(line, {"messages": [{"role": "user", "content": text}]} | shared) for line, text in texts]


def rows(entry: ModelEntry, text: str, options: argparse.Namespace) -> list[list[Any]]:
    """One row per way of speculation and concurrency."""
    found: list[list[Any]] = []
    base: dict[int, float] = {}
    for speculation in SPECULATIONS:
        rounds = options.concurrency * options.rounds
        measured = measure(entry, speculation, prompts(TEXTS[text], options.max_tokens), rounds, lambda _: True)
        if measured is None:
            raise RuntimeError("nothing was measured")
        for concurrency in options.concurrency:
            levels = [level for level in measured.levels if level.concurrency == concurrency]
            rate = statistics.median(level.tokens_per_second for level in levels)
            base.setdefault(concurrency, rate)
            found.append([text, name_of(speculation), concurrency, f"{rate:.0f}", f"{rate / base[concurrency]:.2f}",
                          *_rest(levels)])  # fmt: skip
            print(*found[-1], sep=", ", file=sys.stderr)
    return found


def _rest(levels: list[Level]) -> list[str]:
    between = statistics.median(level.seconds_per_token for level in levels)
    acceptance = levels[0].acceptance
    shares = [acceptance.rate, acceptance.mean_length]
    return [f"{1000 * between:.2f}", *("" if share is None else f"{share:.2f}" for share in shares)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    _, config = read_serve_config(TINY_CONFIG)
    entry = next(model for model in config.models if model.id == MODEL)
    found = [row for text in TEXTS for row in rows(entry, text, options)]
    with CSV.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEAD, *found])
    for row in [HEAD, *found]:
        print(*row, sep=", ")


if __name__ == "__main__":
    main()
