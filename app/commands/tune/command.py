"""`python -m app tune MODEL --workload FILE`."""

import argparse
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pydantic
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.commands.tune import report
from app.commands.tune.candidates import Candidate, candidates
from app.commands.tune.engine import EngineFailed, Measured, measure
from app.commands.tune.workload import Prompt, WorkloadError, enough, read_workload
from app.config.model_entry import ModelEntry
from app.config.service import read_serve_config
from contract.fields import ConfigError, explain
from contract.project import PROJECT_FOLDER
from contract.speculation import ENGINE_ARGUMENTS, Method, Word, from_wire

TINY_CONFIG = PROJECT_FOLDER / "serve_configs" / "tiny.yaml"


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    tune = commands.add_parser(
        "tune",
        help="find the best speculative method for a model, on your own prompts",
        description="Starts the model once per candidate, sends it the prompts at each concurrency, and prints the "
        f"`speculation:` block to use. {report.RULE}",
    )
    tune.add_argument("model", help="the id of a chat model of vllm in the config file")
    tune.add_argument(
        "--workload", type=Path, required=True, help="a file with a chat body or a `prompt` a line, as JSON"
    )
    tune.add_argument("--config", type=Path, default=TINY_CONFIG, help="a Serve config file (tiny.yaml)")
    tune.add_argument("--concurrency", type=_concurrencies, default=[1, 4, 16], help="requests at once, such as 1,4,16")
    tune.add_argument("--draft", action="append", default=[], metavar="MODEL", help="a draft model to try; repeatable")
    tune.add_argument(
        "--candidate", action="append", default=[], type=_speculation, metavar="YAML",
        help="try this block beside `off`, instead of the usual ones, such as '{method: ngram, "
        "num_speculative_tokens: 8}'; repeatable",
    )  # fmt: skip
    tune.add_argument("--max-tokens", type=int, default=128, help="of an answer whose line has none (128)")
    tune.add_argument("--output", type=Path, help="write the winning block into this file too")
    tune.add_argument("--svg", type=Path, help="write the table and the chart into this file too")
    tune.set_defaults(run=tune_model)


def tune_model(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit status."""
    progress_console, console = Console(stderr=True), Console(record=options.svg is not None)
    for number in (signal.SIGINT, signal.SIGTERM):  # shells let background jobs ignore the first
        signal.signal(number, _raise_interrupt)
    try:
        entry = _entry(options.config, options.model)
        prompts = read_workload(options.workload, options.max_tokens)
        _report_dropped(prompts, progress_console)
        for name in sorted(ENGINE_ARGUMENTS & set(entry.engine_kwargs)):
            progress_console.print(f"engine_kwargs.{name} is left out; to try it, give it as a --candidate.")
        tried = candidates(entry, options.draft, options.candidate)
        results = _Tuning(entry, prompts, options.concurrency, progress_console).of_all(tried)
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
class _Tuning:
    """One run of the command: what is measured, and where its progress is shown."""

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


def _report(results: report.Results, options: argparse.Namespace, console: Console) -> None:
    best = report.winner(results)
    for part in (report.table(results), report.chart(results), f"\n{report.RULE}", report.LEGEND):
        console.print(part, highlight=False)
    if options.svg is not None:
        console.save_svg(str(options.svg), title=f"tune {options.model}")
    block = report.block(best)
    print(f"\nWinner: {best.name}. In the entry `id: {options.model}` of {options.config}, write:\n\n{block}", end="")
    if options.output is not None:
        options.output.write_text(block)


def _concurrencies(text: str) -> list[int]:
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers from 1, such as 1,4,16")
    return found


def _speculation(text: str) -> Word | Method:
    try:
        return from_wire(yaml.safe_load(text))
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"{text!r} is not YAML") from None
    except pydantic.ValidationError as error:
        raise argparse.ArgumentTypeError(str(explain(error, "speculation"))) from None


def _raise_interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
