"""Weights as files: safetensors hold numbers only, a pickle may run code when it is loaded."""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

from contract.options.catalog import ServedModel
from contract.options.permissions import Permission

SAFE = ".safetensors"
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
HINT = (
    "Its weights must be safetensors: a pickle runs code of whoever made it. Convert them, or where you trust their "
    "maker write `allow: [pickle]` in the model's entry."
)
CODE_HINT = "Read the code that the model brings, pin its `revision`, and write `allow: [custom_code]` in its entry."


class PickleError(ValueError):
    """A model's weights are pickles, and its entry does not allow them."""


def fetched(
    model: ServedModel,
    *,
    only: Sequence[str] | None = None,
    without: Sequence[str] = (),
    plain: Collection[str] = (),
    here: bool = False,
) -> Path:
    """The model's folder: its `source`, or of a hub name that commit, whole, so that nothing comes from another one.
    `here`: only what was downloaded before; raises OSError or ValueError where that is nothing.

    `only` and `without` are patterns of file names. Pickles that are not allowed are left where they are; `plain` are
    endings of pickles that files of this kind of model have without being any, and that are read as plain numbers.
    """
    if os.path.isdir(model.source):
        return Path(model.source)
    from huggingface_hub import snapshot_download

    pickles = () if "pickle" in model.allow else tuple(f"*{suffix}" for suffix in PICKLES.difference(plain))
    return Path(
        snapshot_download(
            model.source,
            revision=model.revision,
            allow_patterns=only,
            ignore_patterns=[*without, *pickles],
            local_files_only=here,
        )
    )


def refuse_pickles(folder: Path) -> None:
    """Raises PickleError where `folder` has weights, and all of them are pickles. A hub name is no folder."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    pickles = [name for name in names if name.suffix in PICKLES]
    if pickles and not any(name.suffix == SAFE for name in names):
        raise PickleError(f"{folder.name}: {pickles[0]} is a pickle. {HINT}")


@contextmanager
def loading(source: str | Path, allow: Collection[Permission]) -> Iterator[bool | None]:
    """Gives what libraries take as `use_safetensors`: true, or none where either is allowed. Raises PickleError.

    While it lasts nothing in this process reads a pickle of torch that is not allowed: libraries also read those that
    an index of safetensors names, or that lie beside them for a part of the model.
    """
    may_pickle = "pickle" in allow
    if not may_pickle:
        refuse_pickles(Path(source))
    with _explained(), nullcontext() if may_pickle else _no_pickles():
        yield None if may_pickle else True


@contextmanager
def _explained() -> Iterator[None]:
    """Notes what to do at a library's own error: that there are no safetensors, or that code must be trusted."""
    try:
        yield
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error):
            error.add_note(CODE_HINT)
        elif "safetensors" in str(error):
            error.add_note(HINT)
        raise


@contextmanager
def _no_pickles() -> Iterator[None]:
    import torch

    load, torch.load = torch.load, _refuse
    try:
        yield
    finally:
        torch.load = load


def _refuse(file: Any, *_: Any, **__: Any) -> NoReturn:
    name = Path(file).name if isinstance(file, str | os.PathLike) else "a part of the model"
    raise PickleError(f"{name} is a pickle. {HINT}")
