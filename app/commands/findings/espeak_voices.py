"""Voices that eSpeak NG does not have: it is asked itself, in a process of its own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.commands.findings.asked_module import ask
from app.commands.findings.finding import Finding

SECONDS = 30


def espeak_findings(models: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Finding]:
    """Of entries as they were written, each with its place."""
    named = [
        (f"{place}.engine_kwargs.voices.{name}", voice)
        for place, model in models
        if model.get("engine") == "espeak-ng" and isinstance(options := model.get("engine_kwargs"), Mapping)
        if isinstance(voices := options.get("voices"), Mapping)
        for name, voice in voices.items()
        if isinstance(voice, str)
    ]
    if not named:
        return
    missing = missing_voices([voice for _, voice in named])
    if missing is None:
        yield Finding("", "The voices of eSpeak NG were not checked: it is not installed here.", is_fault=False)
        return
    for place, voice in named:
        if voice in missing:
            yield Finding(place, f"eSpeak NG has no voice {voice}; `espeak-ng --voices` lists them, such as en-us")


def missing_voices(voices: list[str]) -> list[str] | None:
    """Those that it does not have; None where it is not installed."""
    found: list[str] | None = ask("deployments.speech.espeak_check", voices, SECONDS)
    return found
