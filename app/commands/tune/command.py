"""Finds the best speculative method for a model: what `portico tune` does."""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.commands.tune import report
from app.commands.tune.candidates import Candidate, candidates
from app.commands.tune.engine import EngineFailed, Measured, measure
from app.commands.tune.workload import Prompt, WorkloadError, enough, read_workload
from app.config.model_entry import ModelEntry
from app.config.service import read_serve_config
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER
from contract.speculation import ENGINE_ARGUMENTS, Method, Word

TINY_CONFIG = PROJECT_FOLDER / "serve_configs" / "tiny.yaml"


@dataclass(frozen=True)
class Tuning:
    """What is asked for."""

    model: str  # its id in `config`
    workload: Path
    config: Path
    concurrencies: list[int]
    drafts: tuple[str, ...]
    candidates: tuple[Word | Method, ...]  # beside `off`, instead of the usual ones; none: those
    max_tokens: int
    output: Path | None = None
    svg: Path | None = None


def tune_model(options: Tuning) -> int:
    """Measure and report. Returns the exit status. Raises ConfigError."""
    progress_console, console = Console(stderr=True), Console(record=options.svg is not None)
    for number in (signal.SIGINT, signal.SIGTERM):  # shells let background jobs ignore the first
        signal.signal(number, _raise_interrupt)
    try:
        entry = _entry(options.config, options.model)
        prompts = read_workload(options.workload, options.max_tokens)
        _report_dropped(prompts, progress_console)
        for name in sorted(ENGINE_ARGUMENTS & set(entry.engine_kwargs)):
            progress_console.print(f"engine_kwargs.{name} is left out; to try it, give it as a --candidate.")
        tried = candidates(entry, options.drafts, options.candidates)
        results = _Run(entry, prompts, options.concurrencies, progress_console).of_all(tried)
    except WorkloadError as error:
        print(f"The workload is wrong:\n{error}", file=sys.stderr)
        return 2
    except EngineFailed as error:
        print(f"Nothing was measured: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; no engine is left running.", file=sys.stderr)
        return 130
    _report(results, options, console)
    return 0


def _entry(path: Path, model_id: str) -> ModelEntry:
    _, config = read_serve_config(path)
    able = {model.id: model for model in config.models if (model.engine, model.task) == ("vllm", "chat")}
    if model_id not in able:
        raise ConfigError(
            f"{path} has no chat model of vllm with the id {model_id!r}; it has {', '.join(able) or 'none'}"
        )
    return able[model_id]


def _report_dropped(prompts: list[Prompt], console: Console) -> None:
    for prompt in prompts:
        if prompt.dropped:
            console.print(f"Line {prompt.line}: {', '.join(prompt.dropped)} left out, for all candidates.")


@dataclass(frozen=True)
class _Run:
    """One run: what is measured, and where its progress is shown."""

    entry: ModelEntry
    prompts: list[Prompt]
    concurrencies: list[int]
    console: Console

    def of_all(self, tried: list[Candidate]) -> report.Results:
        """Measure one candidate after the other. One that fails is left out, except `off`, the baseline."""
        results: report.Results = {}
        for number, candidate in enumerate(tried, 1):
            head = f"[{number}/{len(tried)}] {candidate.name}"
            try:
                measured = self.of_one(candidate, head)
            except EngineFailed as error:
                if candidate.speculation == "off":
                    raise
                self.console.print(f"{head}: left out. {error}", markup=False)
                continue
            if measured is None:
                self.console.print(f"{head}: it comes to n-grams, which are measured already", markup=False)
                continue
            results[candidate.name] = (candidate, measured)
            rates = ", ".join(f"{level.tokens_per_second:.0f}" for level in measured.levels)
            self.console.print(f"{head}: {rates} tokens/s", markup=False)
        return results

    def of_one(self, candidate: Candidate, head: str) -> Measured | None:
        """Measure one candidate; None where it is `auto` and comes to what is measured anyway."""
        columns = (
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(),
        )  # fmt: skip
        total = sum(len(enough(self.prompts, concurrency)) for concurrency in self.concurrencies)
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            task = progress.add_task(f"{head}: starting the engine", total=total)

            def on_event(event: dict[str, Any]) -> bool:
                if event["event"] == "ready":
                    progress.update(task, description=f"{head}: measuring")
                    return candidate.speculation != "auto" or event["speculation"]["method"] != "ngram"
                if event["event"] == "answered":
                    progress.advance(task)
                return True

            return measure(self.entry, candidate.speculation, self.prompts, self.concurrencies, on_event)


def _report(results: report.Results, options: Tuning, console: Console) -> None:
    best = report.winner(results)
    for part in (report.table(results), report.chart(results), f"\n{report.RULE}", report.LEGEND):
        console.print(part, highlight=False)
    if options.svg is not None:
        console.save_svg(str(options.svg), title=f"tune {options.model}")
    block = report.block(best)
    print(f"\nWinner: {best.name}. In the entry `id: {options.model}` of {options.config}, write:\n\n{block}", end="")
    if options.output is not None:
        options.output.write_text(block)


def _raise_interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
