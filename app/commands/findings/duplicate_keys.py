"""Keys that a YAML file gives twice in one mapping. YAML's readers take the last and say nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from app.commands.findings.finding import Finding

MERGED = "tag:yaml.org,2002:merge"  # `<<`


def duplicate_findings(path: Path) -> Iterator[Finding]:
    """Of a file that is YAML."""
    with path.open("rb") as file:
        yield from _of(yaml.compose(file, yaml.SafeLoader), "", set())


def _of(node: Any, place: str, seen: set[int]) -> Iterator[Finding]:
    if id(node) in seen:  # an alias of what was looked through
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, inner in enumerate(node.value):
            yield from _of(inner, f"{place}[{number}]", seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, inner in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        where = f"{place}.{name}" if place else name
        if name in lines and key.tag != MERGED:
            yield Finding(where, f"it is given twice, in line {lines[name]} and in line {line}; keep one of them")
        lines[name] = line
        yield from _of(inner, where, seen)
