"""Makes, lists, changes, rotates and revokes API keys: what `portico keys` does, and what it shows."""

from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from app.audit.change import by_command
from app.audit.keys import changing_keys
from app.audit.trail import Trail
from app.config.audit import beside
from app.config.service import read_serve_config
from app.keys import lifecycle, moments, report
from app.keys.entry import KeyEntry
from app.keys.file import KeyFile
from app.keys.lifecycle import KeyRefusal

FOLLOWED = "The service follows within 5 seconds."
SHOWN_ONCE = "This is the only time it is shown; only its hash is kept."


class Place(NamedTuple):
    """Where keys are kept: a key file, or the one that a Serve config file names."""

    file: Path | None
    config: Path | None = None


class Shown(NamedTuple):
    """What a command shows, for machines and for people."""

    data: Any
    text: str


def create(place: Place | None, facts: dict[str, Any], expires: timedelta | datetime | None) -> Shown:
    """Make a key. Without a place it is an entry for the configuration. Raises KeyRefusal, ConfigError."""
    now = _now()
    facts = {**facts, "expires": _end(expires, now)}
    if place is None:
        return _block(*lifecycle.make({}, now, **facts))
    with _changing(place, "create", facts, new=True) as keys:
        secret, entry = lifecycle.make(keys, now, **facts)
    message = f"{SHOWN_ONCE} {FOLLOWED}\nIts id is {entry.id}: show, rotate and revoke it by that."
    return Shown({**report.public(entry, now), "key": secret}, f"{secret}\n\n{message}")


def every(place: Place) -> Shown:
    """All keys. Raises KeyRefusal, ConfigError."""
    now = _now()
    entries = _file(place).read()
    return Shown([report.public(entry, now) for entry in entries], report.table(entries, now))


def one(place: Place, key_id: str) -> Shown:
    """One key. Raises KeyRefusal, ConfigError."""
    now = _now()
    entry = lifecycle.find({entry.id: entry for entry in _file(place).read()}, key_id)
    return Shown(report.public(entry, now), report.card(entry, now))


def update(place: Place, key_id: str, facts: dict[str, Any], expires: timedelta | datetime | None) -> Shown:
    """Change what a key may do. Raises KeyRefusal, ConfigError."""
    now = _now()
    if expires is not None:
        facts = {**facts, "expires": _end(expires, now)}
    with _changing(place, "update", facts) as keys:
        entry = lifecycle.update(keys, key_id, now, **facts)
    return Shown(report.public(entry, now), f"{report.card(entry, now)}\n\n{FOLLOWED}")


def rotate(place: Place, key_id: str, grace: timedelta, expires: timedelta | datetime | None) -> Shown:
    """Make a key in place of another. Raises KeyRefusal, ConfigError."""
    now = _now()
    with _changing(place, "rotate") as keys:
        secret, entry = lifecycle.rotate(keys, key_id, grace, _end(expires, now), now)
        old = keys[key_id]
    until = f"is good until {old.expires:%Y-%m-%d %H:%M} UTC" if old.expires and old.expires > now else "is expired"
    message = f"{SHOWN_ONCE} {FOLLOWED}\nIts id is {entry.id}. The old key, {old.id}, {until}."
    data = {**report.public(entry, now), "key": secret, "old": report.public(old, now)}
    return Shown(data, f"{secret}\n\n{message}")


def revoke(place: Place, key_id: str) -> Shown:
    """End a key. Raises KeyRefusal, ConfigError."""
    now = _now()
    with _changing(place, "revoke") as keys:
        entry = lifecycle.revoke(keys, key_id, now)
    return Shown(report.public(entry, now), f"The key {entry.id} is revoked. {FOLLOWED}")


def _changing(
    place: Place, verb: str, facts: dict[str, Any] | None = None, *, new: bool = False
) -> AbstractContextManager[lifecycle.Keys]:
    file, trail = _files(place, facts or {})
    return changing_keys(file, trail, by_command(f"portico keys {verb}"), new=new)


def _file(place: Place) -> KeyFile:
    return _files(place, {})[0]


def _files(place: Place, facts: dict[str, Any]) -> tuple[KeyFile, Trail]:
    """The key file that is meant, and its audit log. Raises ConfigError, and KeyRefusal where the configuration names
    no key file, or has not what a key with `facts` names.
    """
    if place.file is not None:
        return KeyFile(place.file), Trail(beside(place.file))
    if place.config is None:
        raise KeyRefusal("Name the key file with `--file`, or with `--config` a Serve config file that names it.")
    _, config = read_serve_config(place.config)
    if fault := config.fault_of_key(facts):
        raise KeyRefusal(fault.message)
    path = config.key_path()
    if path is None:
        raise KeyRefusal(f"{place.config} names no `key_file`. Add one, or name the file with `--file`.")
    return KeyFile(path), Trail(config.audit_path())


def _block(secret: str, entry: KeyEntry) -> Shown:
    block = entry.model_dump(mode="json", exclude_none=True)
    text = yaml.safe_dump([block], sort_keys=False, allow_unicode=True).rstrip("\n")
    return Shown(
        block | {"key": secret}, f"{secret}\n\n{SHOWN_ONCE} Put this under `keys:` in the configuration:\n\n{text}"
    )


def _end(end: timedelta | datetime | None, now: datetime) -> datetime | None:
    return now + end if isinstance(end, timedelta) else end


def _now() -> datetime:
    return moments.now().replace(microsecond=0)  # what is printed and what is in the file are the same
