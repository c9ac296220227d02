"""What the audit log has: all of it, or the changes of one key, or since a moment."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from app.audit.trail import Trail
from app.config.service import read_serve_config
from contract.fields import ConfigError

HEADINGS = ("time (UTC)", "what", "of", "who", "before -> after")


def trail_of(config: Path) -> Trail:
    """The audit log that a Serve config file names, or the one beside its key file. Raises ConfigError."""
    path = read_serve_config(config)[1].audit_path()
    if path is None:
        raise ConfigError(f"{config} names neither an `audit.file` nor a `key_file`, beside which it would be")
    return Trail(path)


def matching(lines: Iterable[dict[str, Any]], key: str | None, since: datetime | None) -> list[dict[str, Any]]:
    """Those about the key of that public id, or made by it; those since that moment."""
    return [
        line
        for line in lines
        if (key is None or key in (line.get("key"), line["who"].get("key")) or _names(line, key))
        and (since is None or datetime.fromisoformat(line["time"]) >= since)
    ]


def _names(line: dict[str, Any], key: str) -> bool:
    """Whether a change of a whole file is one of that key too."""
    return any(path.split(".")[0] == key for path in [*line["before"], *line["after"]])


def row(line: dict[str, Any]) -> tuple[str, ...]:
    """What a person sees of a line, under HEADINGS."""
    who = line["who"]
    actor = {"command": f"{who.get('command')} by {who.get('user')}@{who.get('host')}", "key": f"key {who.get('key')}"}
    seen_by = f", seen by {line['replica']}" if "replica" in line else ""
    what = line["what"] + (" (failed)" if line.get("failed") else "")
    subject = line.get("key") or line.get("application") or line.get("file") or ""
    moment = line["time"].partition(".")[0].replace("T", " ")
    return moment, what, subject, actor.get(who["kind"], who["kind"]) + seen_by, "\n".join(_changes(line))


def _changes(line: dict[str, Any]) -> list[str]:
    before, after = line["before"], line["after"]
    return [f"{path}: {_text(before, path)} -> {_text(after, path)}" for path in sorted(before.keys() | after.keys())]


def _text(facts: dict[str, Any], path: str) -> str:
    return str(facts[path]) if path in facts else "-"
