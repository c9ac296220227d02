"""What the parameter table costs: to parse, bound, adjust and serialize a chat request, and to check its schemas.

    python benchmarks/parameter_table.py

Writes benchmarks/parameter_table.csv. Microseconds of one core, the best of several rounds of `timeit`. Schemas are
checked twice: `schemas_first` on a thread, when the gateway has not seen them; `schemas_again` ever after. The event
loop itself has about 30 in each of these two.
"""

import asyncio
import csv
import timeit
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from app.endpoints.chat import TABLE, engine_body
from app.http.body import parse_object
from app.parameters.adjust import adjust
from app.parameters.adjustments import header_value
from app.parameters.kinds import PlacedSchema
from app.parameters.request_bounds import check_bounds
from app.parameters.schemas import SchemaChecker
from contract.profile import Profile

CSV = Path(__file__).with_suffix(".csv")
ROUNDS = 5
PROFILE = Profile(
    "vllm",
    frozenset({"chat", "tools", "vision"}),
    {"reasoning_effort": "the model's template does not read it"},
    {"context_length": 32768, "vocabulary_size": 151936, "max_logprobs": 20},
)


TOOLS = 20


def request(text_bytes: int, **fields: Any) -> dict[str, Any]:
    """A chat request as clients send it, two of its parameters out of range or unknown."""
    return {
        "model": "some-model",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "x" * text_bytes}],
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
    } | fields


def tool(number: int) -> dict[str, Any]:
    """A function of five parameters, as agents have them."""
    properties: dict[str, Any] = {
        "path": {"type": "string", "description": "The path of the file, relative to the root of the project."},
        "lines": {"type": "array", "items": {"type": "integer", "minimum": 1}, "description": "Which lines to read."},
        "mode": {"type": "string", "enum": ["read", "write", "append"], "description": "How to open the file."},
        "since": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$", "description": "Only changes after this day."},
        "options": {"anyOf": [{"type": "object", "additionalProperties": {"type": "string"}}, {"type": "null"}]},
    }
    parameters = {"type": "object", "properties": properties, "required": ["path"], "additionalProperties": False}
    function = {"name": f"function_{number}", "description": "Reads a file.", "parameters": parameters}
    return {"type": "function", "function": function}


REQUESTS = {
    "1 KB": request(544),
    "10 KB": request(9_760),
    "220 KB": request(224_800),
    "32 MB with an image": request(
        100,
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "A" * 32_000_000}}]}],
    ),
    f"{TOOLS} tools": request(544, tools=[tool(number) for number in range(TOOLS)]),
    "200 messages": request(100, messages=[{"role": "user", "content": "x" * 200}] * 200),
}


def microseconds(call: Callable[[], object]) -> float:
    calls, _ = timeit.Timer(call).autorange()
    return min(timeit.repeat(call, number=calls, repeat=ROUNDS)) / calls * 1e6


def main() -> None:
    rows: list[list[Any]] = []
    with asyncio.Runner() as runner:
        for name, content in REQUESTS.items():
            body = orjson.dumps(content)
            parsed = parse_object(body)
            adjusted = adjust(TABLE, parsed, PROFILE)

            def check(checker: SchemaChecker | None, schemas: Sequence[PlacedSchema] = adjusted.schemas) -> None:
                runner.run((checker or SchemaChecker()).check(schemas))

            calls: list[Callable[[], object]] = [
                partial(parse_object, body),
                partial(check_bounds, parsed),
                partial(adjust, TABLE, parsed, PROFILE),
                partial(check, None),
                partial(check, SchemaChecker()),
                partial(header_value, adjusted.adjustments),
                partial(engine_body, adjusted.engine, "some-model"),
            ]
            rows.append([name, *(f"{microseconds(call):.1f}" for call in calls)])
    header = ["request", "parse", "bounds", "adjust", "schemas_first", "schemas_again", "header", "serialize"]
    with CSV.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    for line in [header, *rows]:
        print("".join(f"{value!s:>20}" for value in line))


if __name__ == "__main__":
    main()
