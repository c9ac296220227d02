"""What `portico serve` is asked to serve: a config file, the usual one, or models that are named."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pydantic
from rich import box
from rich.console import Console
from rich.table import Table

from app.commands.planned import serve_file
from app.commands.planned.entries import Planned, entry, plan
from app.commands.planned.kind import kind_of
from app.commands.planned.machine import GIB, Machine, idle_gpus, this_machine
from app.commands.planned.source import find
from app.commands.weights import fetch_weights
from app.config.model_entry import ModelEntry
from contract.fields import ConfigError, explain, refuse_twice
from contract.project import PROJECT_FOLDER

LOCAL_CONFIG = PROJECT_FOLDER / "serve_configs" / "local.yaml"
YAML = (".yaml", ".yml")


class Options(NamedTuple):
    """Of a file for models that are named."""

    port: int = 8000
    output: Path | None = None
    overwrite: bool = False
    fetch: bool = True


def file_of(what: list[str], options: Options) -> Path:
    """The Serve config file to serve. Raises ConfigError."""
    files = [one for one in what if one.endswith(YAML)]
    if not what:
        return _local_config()
    if files and len(what) > 1:
        raise ConfigError(f"{files[0]} is a config file: serve one file, or models")
    return Path(files[0]) if files else _planned(what, options)


def _local_config() -> Path:
    """serve_configs/local.yaml, once its models are here."""
    if subprocess.run([sys.executable, "-m", "local_models", "local"], cwd=PROJECT_FOLDER, check=False).returncode:
        raise ConfigError(f"the models of {LOCAL_CONFIG.name} could not be fetched, as is said above")
    return LOCAL_CONFIG


def _planned(names: list[str], options: Options) -> Path:
    """The file that is written for models that are named."""
    console = Console(stderr=True, highlight=False)
    with console.status("Looking at the models ...") as shown:
        machine = this_machine()
        models = []
        for name in names:
            shown.update(f"Looking at {name} ...")
            source = find(name)
            models.append((source, kind_of(source)))
        try:
            refuse_twice(source.id for source, _ in models)
        except ValueError as error:
            raise ConfigError(f"{error}: clients call a model by the last part of its name") from None
        found = plan(models, machine)
    path = options.output or serve_file.usual_place([source.id for source, _ in models])
    entries = [entry(one, machine, len(found)) for one in found]
    _check(entries)
    about = [
        f"Written by `portico serve {' '.join(map(shlex.quote, names))}`, for a machine with {machine}.",
        f"`portico serve {shlex.quote(str(path))}` serves it; change it as you like.",
    ]
    written = serve_file.write(path, serve_file.content(entries, options.port), about, overwrite=options.overwrite)
    console.print(f"This machine: {machine}", markup=False)
    if idle := idle_gpus():
        console.print(f"{idle[0].name} is here and not used: `make gpu VENV=.venv-gpu` installs the packages for it.")
    console.print(_table(found, machine))
    console.print(f"{'Wrote' if written else 'As before:'} {path}", markup=False, soft_wrap=True)
    if options.fetch:
        for source, kind in models:
            if source.folder is None:
                fetch_weights(source.name, source.revision, kind.engine)
    return path


def _check(entries: list[dict[str, object]]) -> None:
    for one in entries:
        try:
            ModelEntry.model_validate(one)
        except pydantic.ValidationError as error:
            raise explain(error, str(one["id"])) from None


def _table(found: list[Planned], machine: Machine) -> Table:
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in ("model", "task", "engine", "runs on", "weights", "context", "cache"):
        made.add_column(name, overflow="fold")
    for source, kind, needs, place in found:
        cache = "-"
        if place.cache_bytes is not None:
            cache = f"{place.cache_bytes / GIB:.2f} GiB"
        elif place.context:
            cache = "the rest of the GPU"
        made.add_row(
            source.id,
            kind.task,
            kind.engine,
            f"{place.gpus:g} GPU" if place.gpus else f"{machine.cores} cores",
            f"{needs.weights_gib:.2f} GiB" if source.sizes else "-",
            f"{place.context:,}" if place.context else "-",
            cache,
        )
    return made
