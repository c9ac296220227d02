"""Folders, files and voices that a model entry names and that are not there."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from app.commands.findings.finding import Finding
from contract.options.catalog import CATALOG
from contract.project import LOCAL_MODELS, in_project, is_hub_name

PATH = re.compile(r"/[^/\0\n{}]+(/[^/\0\n{}]+)+")  # in engine_kwargs; a template's text is none
MAX_PATH_LENGTH = 1024


def place_findings(model: Mapping[str, Any], place: str, *, here: bool) -> Iterator[Finding]:
    """Of an entry as it was written. `here` says whether its replicas run on this machine only."""
    source, engine = model.get("source"), CATALOG.get(str(model.get("engine")))
    if isinstance(source, str) and (engine is None or engine.downloads):
        yield from _missing(source, f"{place}.source", here=here)
        yield from _voices(model, in_project(source), place)
    for number, adapter in enumerate(_list(model.get("adapters"))):
        if isinstance(adapter, Mapping):
            yield from _missing(adapter.get("source"), f"{place}.adapters[{number}].source", here=here)
    for number, folder in enumerate(_list(model.get("packages"))):
        yield from _missing(folder, f"{place}.packages[{number}]", here=here)
    speculation = model.get("speculation")
    if isinstance(speculation, Mapping):
        yield from _missing(speculation.get("model"), f"{place}.speculation.model", here=here)
    for name, value in _texts(model.get("engine_kwargs")):
        if len(value) <= MAX_PATH_LENGTH and PATH.fullmatch(value):
            yield from _missing(value, f"{place}.engine_kwargs{name}", here=here)


def _missing(written: Any, place: str, *, here: bool) -> Iterator[Finding]:
    if not isinstance(written, str) or "://" in written or is_hub_name(written) or Path(in_project(written)).exists():
        return
    if not here:
        message = f"{written} is not on this machine; it must be on every node where a replica may run"
        yield Finding(place, message, is_fault=False)
        return
    make = "; `make serve` and `python -m local_models` make those of the project"
    yield Finding(place, f"{written} is not there{make if written.startswith(LOCAL_MODELS) else ''}")


def _voices(model: Mapping[str, Any], source: str, place: str) -> Iterator[Finding]:
    """Voices that a folder of Piper or Kokoro lacks."""
    options = model.get("engine_kwargs")
    voices = options.get("voices") if isinstance(options, Mapping) else None
    if not isinstance(voices, Mapping) or not Path(source).is_dir():
        return
    there = sorted(VOICES_OF.get(str(model.get("engine")), lambda _: set())(Path(source)))
    for name, voice in voices.items() if there else ():
        file = str(voice).partition(":")[0]  # behind it is a speaker of several
        if file not in there:
            near = get_close_matches(file, there, n=1) or there[:3]
            message = (
                f"the folder has no voice {file}; it has {', '.join(near)}{' ...' if len(there) > len(near) else ''}"
            )
            yield Finding(f"{place}.engine_kwargs.voices.{name}", message)


def _piper_voices(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("**/*.onnx") if file.is_file()}


def _kokoro_voices(folder: Path) -> set[str]:
    """From archives of numpy, a member a voice, and from files of one voice each."""
    found: set[str] = set()
    for file in [*folder.glob("voices*.npz"), *folder.glob("voices*.bin"), *folder.glob("voices/*.bin")]:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                found |= {name.removesuffix(".npy") for name in archive.namelist()}
        elif file.is_file():
            found.add(file.stem)
    return found


VOICES_OF = {"piper": _piper_voices, "kokoro": _kokoro_voices}  # by engine: the voices of a folder


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(node: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text inside `node`, and its place there."""
    if isinstance(node, str):
        yield place, node
    elif isinstance(node, Mapping):
        for name, value in node.items():
            yield from _texts(value, f"{place}.{name}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _texts(value, f"{place}[{number}]")
