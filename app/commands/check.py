"""`portico check FILE`: what is wrong in a config file, and whether its models have the GPU memory they need."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import orjson

from app.commands import driver
from app.commands.findings.finding import Finding
from app.commands.findings.token_issuers import answer_findings
from app.commands.findings.whole_file import findings
from app.config.gpus import MEMORY_GIB, memory_gib
from app.config.inventory import least_gpus
from app.config.memory_fit import Demand, Verdict, demand, verdict
from app.config.model_entry import ModelEntry
from app.config.service import Config
from app.keys import KeyRing
from app.keys.file import KeyFile
from contract.fields import ConfigError

COLUMNS = ("model", "GPUs", "weights", "cache", "working", "needs", "has", "")
NO_FIT, WRONG = 1, 2  # exit statuses: a model does not fit; the file is wrong


def check_file(path: Path, gpu: str | None = None, *, issuers: bool = False, as_json: bool = False) -> int:
    """Print all that is to be said of a config file. Returns the exit status. Raises ConfigError.

    With `issuers`, those whose tokens are good are asked for their keys.
    """
    if gpu is not None and memory_gib(gpu) is None:
        raise ConfigError(f"--gpu: {gpu} is not known; give one of {', '.join(MEMORY_GIB)}, or its memory in GiB")
    found, config = findings(path)
    if issuers and config is not None:
        found += answer_findings(config)
    lines, fits = memory_report(config, gpu) if config is not None else ([], True)
    faults = [one for one in found if one.is_fault]
    if as_json:
        print(_json(path, found, lines, fits=fits))
        return WRONG if faults else 0 if fits else NO_FIT
    if not faults and config is not None:
        print(f"{path} is right: {len(config.models)} models, {_keys(config)} keys.")
    print(*(one for one in found if not one.is_fault), sep="\n", end="\n" if len(faults) < len(found) else "")
    print(*lines, sep="\n", end="\n" if lines else "", flush=True)
    if faults:
        raise ConfigError("\n".join(map(str, faults)))
    return 0 if fits else NO_FIT


def _json(path: Path, found: list[Finding], memory: list[str], *, fits: bool) -> str:
    said = {
        kind: [{"place": one.place, "message": one.message} for one in found if one.is_fault is fault]
        for kind, fault in (("faults", True), ("notes", False))
    }
    return orjson.dumps(
        {"file": str(path), **said, "fits": fits, "memory": memory}, option=orjson.OPT_INDENT_2
    ).decode()


def _keys(config: Config) -> int:
    """How many there are, with those of the key file where that is here."""
    path = config.key_path()
    return len(KeyRing(config.keys, path if path is not None and KeyFile(path).version() is not None else None))


def memory_report(config: Config, gpu: str | None) -> tuple[list[str], bool]:
    """A table of the models on each kind of GPU, and whether none is known not to fit."""
    demands = {model.id: demand(model) for model in config.models if model.resources.num_gpus}
    kinds: dict[str, list[ModelEntry]] = {}
    for model in (model for model in config.models if model.id in demands):
        for name in [gpu] if gpu else model.resources.accelerator_types or sorted(config.cluster.gpus) or [gpu_here()]:
            kinds.setdefault(name, []).append(model)
    lines, fits = [], True
    for name, models in kinds.items():
        memory = memory_gib(name)
        verdicts = {model.id: verdict(model, demands[model.id], memory) for model in models} if memory else {}
        fits = fits and all(one.fits is not False for one in verdicts.values())
        lines += ["", f"{_title(name, memory)}. In GiB, for each GPU of a replica:"]
        lines += _table(models, demands, verdicts)
        if memory:
            lines += _together(models, demands, memory)
    if demands:
        lines += ["", "`working` is an allowance (memory.working_gib), not measured. Draft models are not counted."]
        lines += [f"{name}: {needed.unknown}." for name, needed in demands.items() if needed.unknown]
        if on_cpus := [model.id for model in config.models if model.id not in demands]:
            lines.append(f"On CPUs: {', '.join(on_cpus)}.")
    return lines, fits


@cache
def gpu_here() -> str:
    """The memory of this machine's smallest GPU, in GiB; empty where there is none."""
    try:
        smallest = min(gpu.memory_gib for gpu in driver.gpus())
    except driver.DriverError:
        return ""
    return f"{smallest:.2f}" if smallest > 0 else ""


def _title(name: str, memory: float | None) -> str:
    if memory is None:
        return f"{name or 'No GPU is named, and none is here'}: its memory is not known; give --gpu"
    return f"A GPU with {memory:g} GiB" if name not in MEMORY_GIB else f"{name}, {memory:g} GiB"


def _table(models: list[ModelEntry], demands: dict[str, Demand], verdicts: dict[str, Verdict]) -> Iterable[str]:
    rows = [COLUMNS, *(_row(model, demands[model.id], verdicts.get(model.id)) for model in models)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if place in (0, len(COLUMNS) - 1) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _row(model: ModelEntry, needed: Demand, found: Verdict | None) -> tuple[str, ...]:
    cache = needed.sequence if needed.reserved is None else needed.reserved
    words = {True: "fits", False: "does not fit", None: "unknown"}[found.fits] if found else ""
    reason = found.reason if found else ""
    return (
        model.id,
        f"{model.resources.num_gpus:g}",
        *map(_gib, (needed.weights, cache, needed.working, needed.total)),
        _gib(found.has) if found else "?",
        ": ".join(filter(None, (words, reason))),
    )


def _gib(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}"


def _together(models: list[ModelEntry], demands: dict[str, Demand], memory: float) -> list[str]:
    """What the models that share GPUs need together, with as many replicas as always run."""
    sharing = [model for model in models if model.resources.num_gpus < 1]
    if len(sharing) < 2:
        return []
    replicas = {model.id: max(1, model.scale.min_replicas) for model in sharing}
    gpus = least_gpus((replicas[model.id], model.resources.num_gpus) for model in sharing)
    totals = [(demands[model.id].total, replicas[model.id]) for model in sharing]
    known = sum(total * count for total, count in totals if total is not None)
    more = "" if all(total is not None for total, _ in totals) else " and what is unknown"
    return [f"Those that share: {known:.2f}{more} of {gpus} x {memory:g} GiB."]
