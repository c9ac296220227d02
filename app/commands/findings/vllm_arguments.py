"""Arguments of vLLM that it does not have, or not of that type: vLLM itself is asked, in a process of its own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.commands.findings.asked_module import ask
from app.commands.findings.finding import Finding
from app.config.model_entry import ENGINE_ENV

SECONDS = 300  # vLLM takes up to a minute to import where its files are read for the first time
QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}


def vllm_findings(models: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Finding]:
    """Of entries as they were written, each with its place."""
    asked = [
        (place, options)
        for place, model in models
        if model.get("engine") == "vllm" and isinstance(options := model.get("engine_kwargs"), dict) and options
    ]
    if not asked:
        return
    answer = faults([options for _, options in asked])
    if answer is None:
        yield Finding("", "The arguments of vLLM were not checked: vLLM is not installed here.", is_fault=False)
        return
    for (place, _), found in zip(asked, answer, strict=True):
        for fault in found:
            yield Finding("", f"{place}.{fault}")


def faults(arguments: Sequence[dict[str, Any]]) -> list[list[str]] | None:
    """What vLLM says of each `engine_kwargs`; None where it is not installed, or does not answer."""
    found: list[list[str]] | None = ask(
        "deployments.vllm.argument_check", arguments, SECONDS, environment=ENGINE_ENV | QUIET
    )
    return found
