"""What the parameter table costs: parsing, adjusting and serializing a chat request of 1, 10 and 220 KB.

    python benchmarks/parameter_table.py

Writes benchmarks/parameter_table.csv. Microseconds of one core, the best of several rounds of `timeit`.
"""

import csv
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from app.endpoints.chat import TABLE, engine_body
from app.http.body import parse_object
from app.parameters.adjust import adjust
from app.parameters.adjustments import header_value
from contract.profile import Profile

CSV = Path(__file__).with_suffix(".csv")
SIZES_KB = (1, 10, 220)
ROUNDS, CALLS = 9, 500
PROFILE = Profile(
    "vllm",
    frozenset({"chat", "tools"}),
    {"reasoning_effort": "the model's template does not read it"},
    {"context_length": 32768, "vocabulary_size": 151936, "max_logprobs": 20},
)


def request(size_kb: int) -> dict[str, Any]:
    """A chat request as clients send it, two of its parameters out of range or unknown."""
    text = "x" * (size_kb * 1024 - 480)
    return {
        "model": "some-model",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": text}],
        "temperature": 0.7,
        "top_p": 1.5,
        "max_completion_tokens": 512,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.1,
        "stop": ["###"],
        "seed": 42,
        "n": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "somebody",
        "metadata": {"order": "42"},
        "unheard_of": 1,
    }


def microseconds(call: Callable[[], object]) -> float:
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def main() -> None:
    rows: list[list[float]] = []
    for size_kb in SIZES_KB:
        body = orjson.dumps(request(size_kb))
        parsed = parse_object(body)
        adjusted = adjust(TABLE, parsed, PROFILE)
        rows.append(
            [
                size_kb,
                microseconds(partial(parse_object, body)),
                microseconds(partial(adjust, TABLE, parsed, PROFILE)),
                microseconds(partial(header_value, adjusted.adjustments)),
                microseconds(partial(engine_body, adjusted.engine, "some-model")),
            ]
        )
    header: list[Any] = ["size_kb", "parse_us", "adjust_us", "header_us", "serialize_us"]
    written: list[list[Any]] = [[row[0], *(f"{value:.1f}" for value in row[1:])] for row in rows]
    with CSV.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *written])
    for line in [header, *written]:
        print("".join(f"{value!s:>14}" for value in line))


if __name__ == "__main__":
    main()
