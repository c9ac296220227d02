"""What differs between two states of the configuration or of a key, without anything that may be a secret."""

from collections.abc import Iterable, Iterator
from typing import Any

REDACTED = "(redacted)"

# Texts are shown where they are known to be harmless: the fields of these names.
HARMLESS = frozenset(
    {"id", "name", "task", "engine", "mode", "policy", "carrier", "revision", "pipelines", "team", "teams", "scope",
     "scopes", "allow", "accelerator_type", "accelerators", "disabled", "start_first", "level", "log_level", "format",
     "speculation", "method", "capabilities", "created", "expires", "revoked", "rotated_from", "allowed_origins",
     "allowed_domains", "allowed_networks", "chat_template_kwargs", "audiences", "algorithms", "claim",
     "subject_claim", "currency"}
)  # fmt: skip
# And in these, where they are no URL: those hold passwords and signatures.
PLACES = frozenset({"source", "key_file", "secret_file", "file", "location", "snapshot", "packages"})
# What is in these is somebody else's to name: variables, arguments of engines.
FOREIGN = frozenset({"env", "engine_kwargs", "options"})

Path = tuple[str, ...]


def difference(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What differs of two trees of plain data, as `{path: value}` of each; what a tree lacks is left out of its own.

    Entries of lists are told apart by their `id`. Numbers and booleans are shown, texts only where they are harmless.
    """
    one, other = dict(_leaves(before, ())), dict(_leaves(after, ()))
    changed = [path for path in [*one, *(one.keys() ^ other.keys())] if _differs(path, one, other)]
    paths = sorted(set(changed))
    return _shown(paths, one), _shown(paths, other)


def _differs(path: Path, one: dict[Path, Any], other: dict[Path, Any]) -> bool:
    return (path in one) != (path in other) or one[path] != other[path]


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for name, one in value.items():
            yield from _leaves(one, (*path, str(name)))
    elif isinstance(value, list) and value and all(isinstance(one, dict) and "id" in one for one in value):
        for one in value:
            yield from _leaves(one, (*path, str(one["id"])))
    elif path:
        yield path, value


def _shown(paths: Iterable[Path], leaves: dict[Path, Any]) -> dict[str, Any]:
    return {".".join(path): _harmless(path, leaves[path]) for path in paths if path in leaves}


def _harmless(path: Path, value: Any) -> Any:
    if isinstance(value, list):
        return [_harmless(path, one) for one in value]
    if value is None or isinstance(value, bool | int | float) or value in ({}, ""):
        return value
    if not isinstance(value, str) or not FOREIGN.isdisjoint(path):
        return REDACTED
    known = path[-1] in HARMLESS or (path[-1] in PLACES and "://" not in value)
    return value if known else REDACTED
