"""The files of a LoRA adapter in PEFT's format, and whether they fit a model: read from their headers, without vLLM.

vLLM itself copies weights that are too small into a corner of the model's and goes on, and leaves out layers that the
model does not have: the adapter would answer, and not as it was trained.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
FILES = (CONFIG, WEIGHTS)
FLOATS = ("F", "BF")  # how the types of floating-point numbers begin
LAYERS = "layers."
PREFIX = "base_model.model."  # before the name that a module has in the model
MOST_NAMED = 3  # modules in one message

# Of a layer: the module's name -> the shapes (outputs, inputs) that weights of that name have in the model.
Shapes = dict[str, set[tuple[int, ...]]]


class MisfitError(ValueError):
    """An adapter that its model cannot take. The message is for an operator and for clients: it names no path."""


def shapes_of(folder: Path) -> Shapes:
    """The shapes of a model's weights, by `_place`; empty where it has no safetensors. Those that are packed into
    integers have another shape than what they stand for, and are left out.
    """
    shapes: Shapes = defaultdict(set)
    for file in sorted(folder.glob("*.safetensors")):
        for name, shape, dtype in _header(file):
            if name.endswith(".weight") and dtype.startswith(FLOATS):
                shapes[_place(name.removesuffix(".weight"))].add(shape)
    return dict(shapes)


def check(folder: Path, base: Shapes, max_rank: int) -> None:
    """Raises MisfitError where the adapter in `folder` does not fit a model whose weights have the shapes `base`.

    Where `base` is empty, or does not have what the adapter changes under any layer, vLLM has the last word.
    """
    try:
        _check(folder, base, max_rank)
    except OSError as error:  # as where this process may not read them
        raise MisfitError("its files cannot be read") from error


def _check(folder: Path, base: Shapes, max_rank: int) -> None:
    """Raises OSError too."""
    if not (folder / WEIGHTS).is_file():
        raise MisfitError(f"there is no {WEIGHTS}; its weights must be safetensors, as PEFT saves them")
    rank = _rank(_config(folder))
    if rank > max_rank:
        raise MisfitError(f"its rank is {rank}, and max_lora_rank is {max_rank}; raise it in engine_kwargs")
    try:
        weights = [(name, shape) for name, shape, _ in _header(folder / WEIGHTS)]
    except OSError:
        raise
    except Exception as error:  # of a library that has no common one
        raise MisfitError(f"{WEIGHTS} cannot be read: it is cut off, or no safetensors") from error
    if not weights:
        raise MisfitError(f"{WEIGHTS} has no weights")
    if faults := list(dict.fromkeys(_faults(weights, base))):
        more = f", and {len(faults) - MOST_NAMED} more" if len(faults) > MOST_NAMED else ""
        raise MisfitError(f"it was made for another model: {'; '.join(faults[:MOST_NAMED])}{more}")


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except FileNotFoundError:
        raise MisfitError(f"there is no {CONFIG}") from None
    except ValueError:
        raise MisfitError(f"{CONFIG} cannot be read: it is no JSON") from None
    if not isinstance(config, dict) or config.get("peft_type", "LORA") != "LORA":
        raise MisfitError(f"{CONFIG} is not of a LoRA adapter; only these are served")
    return config


def _rank(config: dict[str, Any]) -> int:
    """The largest of all its modules."""
    patterns = config.get("rank_pattern") or {}
    ranks: list[Any] = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else [None])]
    if any(not isinstance(rank, int) or isinstance(rank, bool) or rank < 1 for rank in ranks):
        raise MisfitError(f"`r` or `rank_pattern` in {CONFIG} is no rank of 1 or more")
    return int(max(ranks))


def _faults(weights: list[tuple[str, tuple[int, ...]]], base: Shapes) -> Iterator[str]:
    """What of an adapter's weights (name, shape) has no place in the model, a module at a time."""
    kinds = {place.rpartition(".")[2] for place in base}
    for name, shape in weights:
        module, kind = _module(name)
        place = _place(module)
        sides = base.get(place)
        if kind is None or len(shape) != 2:
            continue  # vLLM knows what it is, or refuses it
        if sides is None:
            if place.rpartition(".")[2] in kinds:
                yield f"the model has no {place}"
        elif not any(len(side) == 2 and shape[kind[0]] == side[kind[1]] for side in sides):
            wanted = " or ".join(sorted(str(side[kind[1]]) for side in sides if len(side) == 2))
            yield f"{place} takes {wanted} where the adapter has {shape[kind[0]]}"


# What a weight's name ends with -> (its own dimension, the one of the model's weight) that must be equal.
KINDS = {
    ".lora_A.weight": (1, 1),
    ".lora_B.weight": (0, 0),
    ".lora_embedding_A": (1, 0),
    ".lora_embedding_B": (0, 1),
}


def _module(name: str) -> tuple[str, tuple[int, int] | None]:
    for end, kind in KINDS.items():
        if name.endswith(end):
            return name.removesuffix(end).removeprefix(PREFIX), kind
    return name, None


def _place(module: str) -> str:
    """A module's name from its layer on: what stands before differs between a model's classes; else its last part."""
    start = module.find(LAYERS)
    return module[start:] if start >= 0 else module.rpartition(".")[2]


def _header(file: Path) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """The name, the shape and the type of each weight."""
    with safe_open(file, framework="numpy") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - it is no mapping
            weight = tensors.get_slice(name)
            yield name, tuple(weight.get_shape()), weight.get_dtype()
