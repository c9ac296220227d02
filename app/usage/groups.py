"""What usage can be summed by."""

from collections.abc import Iterable

GROUPS = ("day", "month", "key", "team", "model", "route", "status")
PERIODS = ("day", "month")  # those that are of time; one of them at the most


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Time first, so that sums come in its order."""
    return tuple(sorted(names, key=lambda name: name not in PERIODS))


def parse_by(text: str, legal: Iterable[str] = GROUPS) -> tuple[str, ...]:
    """The names in `model,day`. Raises ValueError, which says what is legal."""
    names, known = tuple(name.strip() for name in text.split(",") if name.strip()), tuple(legal)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{unknown[0][:40]!r} is nothing to group by; legal are {', '.join(known)}")
    if len(set(names)) < len(names):
        raise ValueError("it names one twice; each groups once")
    if len(set(names) & set(PERIODS)) > 1:
        raise ValueError(f"{' and '.join(PERIODS)} exclude each other; name one of them")
    return names
