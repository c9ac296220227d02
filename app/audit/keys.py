"""Changes of keys. Whoever changes a key file does it in `changing_keys`, and the audit log has it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.audit.change import Change, Who
from app.audit.difference import difference
from app.audit.trail import Trail
from app.keys.entry import KeyEntry
from app.keys.file import KeyFile
from app.keys.lifecycle import Keys

# What a change of a field is called; of any other field: key.changed.
NAMES = {"revoked": "key.revoked", "pipelines": "key.scope_changed", "budget": "key.budget_changed"}


@contextmanager
def changing_keys(file: KeyFile, trail: Trail, who: Who, *, new: bool = False) -> Iterator[Keys]:
    """The keys of a file by id, to be changed in place, as `KeyFile.changing` has them.

    The lines of the audit log are on the disk before the key file is replaced: no change is without its line. Where
    they cannot be written, nothing is changed. Raises ConfigError.
    """
    with trail.ahead() as write, file.changing(new=new) as keys:
        before = dict(keys)
        yield keys
        write(changes_of(before, keys, who))


def changes_of(before: Keys, after: Keys, who: Who) -> list[Change]:
    """One change for each key and kind of change. A rotation is two: the old key's end, and a new key."""
    heirs = {key.rotated_from: key.id for key in after.values() if key.id not in before and key.rotated_from}
    changes = []
    for key_id in [*before, *(after.keys() - before.keys())]:
        old, new = before.get(key_id), after.get(key_id)
        if old is None and new is not None:
            changes.append(_change("key.created", key_id, who, {}, _facts(new)))
        elif new is None and old is not None:
            changes.append(_change("key.removed", key_id, who, _facts(old), {}))
        elif old is not None and new is not None and old != new:
            changes += _changes_of_one(old, new, who, heirs.get(key_id))
    return changes


def _changes_of_one(old: KeyEntry, new: KeyEntry, who: Who, heir: str | None) -> Iterator[Change]:
    kinds: dict[str, list[str]] = {}
    before, after = _facts(old), _facts(new)
    for field in sorted(before.keys() | after.keys()):
        if before.get(field) != after.get(field):
            rotated = heir is not None and field == "expires"
            kinds.setdefault("key.rotated" if rotated else NAMES.get(field, "key.changed"), []).append(field)
    if heir is not None:
        kinds.setdefault("key.rotated", [])
    if old.sha256 != new.sha256:  # another secret under the same id: only an edit of the file does that
        kinds.setdefault("key.changed", []).append("sha256")
        before, after = before | {"sha256": old.sha256}, after | {"sha256": new.sha256}
    for what, names in kinds.items():
        one, other = ({name: facts[name] for name in names if name in facts} for facts in (before, after))
        change = _change(what, old.id, who, one, other)
        yield change._replace(after=change.after | {"successor": heir}) if what == "key.rotated" else change


def _facts(entry: KeyEntry) -> dict[str, Any]:
    return entry.model_dump(mode="json", exclude={"id", "sha256"}, exclude_none=True)


def _change(what: str, key_id: str, who: Who, before: dict[str, Any], after: dict[str, Any]) -> Change:
    return Change(what, {"key": key_id}, who, *difference(before, after))
