"""The Compose files of cluster/compose as Compose reads them: variables by their defaults, files one over another."""

import re
from pathlib import Path
from typing import Any

import yaml

from contract.project import PROJECT_FOLDER

FOLDER = PROJECT_FOLDER / "cluster" / "compose"
STACKS = {
    "cpu": ("compose.yaml",),
    "gpu": ("compose.yaml", "gpu.yaml"),
    "gpu, hub token": ("compose.yaml", "gpu.yaml", "hub-token.yaml"),
}
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
REPLACED = {"command", "entrypoint", "test"}  # lists that a later file replaces; others grow

Stack = dict[str, Any]


def content(name: str) -> Any:
    """One file, with the defaults of its variables."""
    return yaml.safe_load(VARIABLE.sub(r"\2", (FOLDER / name).read_text()))


def stack(name: str) -> Stack:
    """What the files of a stack are together."""
    found: Stack = {}
    for file in STACKS[name]:
        found = _merged(found, content(file))
    return found


def _merged(before: Any, after: Any) -> Any:
    if isinstance(before, dict) and isinstance(after, dict):
        replaced = {key: after[key] for key in REPLACED & after.keys()}
        return before | {key: _merged(before.get(key), value) for key, value in after.items()} | replaced
    return [*before, *after] if isinstance(before, list) and isinstance(after, list) else after


def mounts(service: Stack) -> list[tuple[str, str, str]]:
    """What a service mounts: the source, its place in the container, and `ro` or nothing."""
    found = [volume.split(":") for volume in service.get("volumes", [])]
    return [(source, target, *(mode or [""])) for source, target, *mode in found]


def mounted_files(service: Stack) -> dict[str, Path]:
    """The files and folders of the project that it mounts, by their place in the container."""
    return {target: (FOLDER / source).resolve() for source, target, _ in mounts(service) if source.startswith(".")}
