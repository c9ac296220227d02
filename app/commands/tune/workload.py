"""Reads the prompts that a model is tuned on: one chat body, or one `prompt`, a line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from app.endpoints.chat import CHAT
from app.parameters.adjust import adjust
from contract.errors import ApiError
from contract.profile import Profile

FORMS = 'a chat body, such as {"messages": [{"role": "user", "content": "Hi"}]}, or {"prompt": "Hi"}'
# What the model can do is found when its engine starts; what no speculating engine takes goes before, for all alike.
ANY_MODEL = Profile(
    engine="vllm",
    capabilities=frozenset({"chat", "tools", "vision", "audio", "reasoning"}),
    lacks=dict.fromkeys(("logit_bias", "min_p"), "not supported by vllm with speculative decoding"),
)
SET_BY_US = ("model", "stream", "stream_options", "n", "strict_params")


class WorkloadError(ValueError):
    """The file of prompts cannot be used. The message names the line and the fault."""


@dataclass(frozen=True)
class Prompt:
    """One line of the file: a legal chat body without its model."""

    line: int
    body: dict[str, Any]
    dropped: tuple[str, ...] = ()  # what of the line has no effect


def read_workload(path: Path, max_tokens: int) -> list[Prompt]:
    """The prompts in `path`; an answer has at most `max_tokens` where its line sets none. Raises WorkloadError."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise WorkloadError(
            f"{path} cannot be read: {error.strerror}. Name a file with one JSON object a line."
        ) from None
    prompts = [_prompt(path, number, line, max_tokens) for number, line in enumerate(lines, 1) if line.strip()]
    if not prompts:
        raise WorkloadError(f"{path} is empty. Each line is {FORMS}.")
    return prompts


def _prompt(path: Path, number: int, line: bytes, max_tokens: int) -> Prompt:
    place = f"{path}, line {number}"
    try:
        given = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise WorkloadError(
            f"{place}: this is not JSON ({error.msg} at column {error.colno}). A line is {FORMS}."
        ) from None
    if not isinstance(given, dict) or ("prompt" in given) == ("messages" in given):
        raise WorkloadError(f"{place}: a line is {FORMS}; one of both.")
    body = {name: value for name, value in given.items() if value is not None and name not in SET_BY_US}
    if "prompt" in body:
        prompt = body.pop("prompt")
        if not isinstance(prompt, str) or not prompt:
            raise WorkloadError(f"{place}: `prompt` must be a text that is not empty.")
        body["messages"] = [{"role": "user", "content": prompt}]
    if not {"max_tokens", "max_completion_tokens"} & set(body):
        body["max_tokens"] = max_tokens
    try:
        adjusted = adjust(CHAT.table, body, ANY_MODEL)
    except ApiError as error:
        raise WorkloadError(f"{place}: {error.message}") from None
    return Prompt(number, adjusted.engine, tuple(one.name for one in adjusted.adjustments if one.action == "drop"))


def enough(prompts: list[Prompt], concurrency: int) -> list[Prompt]:
    """The prompts, again from the first where they are too few to keep so many requests under way for a while."""
    count = max(len(prompts), 2 * concurrency)
    return [prompts[index % len(prompts)] for index in range(count)]


def parse_concurrencies(text: str) -> list[int]:
    """Numbers of requests at once, such as 1,4,16. Raises ValueError."""
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1:
        raise ValueError(f"{text!r} is not a list of whole numbers from 1, such as 1,4,16")
    return found
