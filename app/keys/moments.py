"""Moments and spans of time as the command line takes and shows them. All moments are UTC."""

import re
from datetime import UTC, datetime, timedelta

SPAN = re.compile(r"(\d{1,5})([mhd])", re.ASCII)
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def now() -> datetime:
    return datetime.now(UTC)


def parse_span(text: str) -> timedelta:
    """`30m`, `12h`, `90d` or `0`. Raises ValueError, which names what is legal."""
    if text == "0":
        return timedelta()
    if form := SPAN.fullmatch(text):
        return int(form[1]) * UNITS[form[2]]
    raise ValueError(f"{text!r} is no span of time; legal are 30m, 12h, 90d and 0")


def parse_end(text: str) -> timedelta | datetime:
    """A span of time from now, or a moment; one without a time zone is UTC. Raises ValueError."""
    if form := SPAN.fullmatch(text):
        return int(form[1]) * UNITS[form[2]]
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is neither a moment nor a span of time; legal are 2027-01-31, 2027-01-31T18:00Z, 30m, 12h, 90d"
        ) from None


def show_moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")


def show_span(span: timedelta) -> str:
    """In the largest unit of which it has a whole one: 89 d, 3 h, 12 min."""
    for unit, name in ((UNITS["d"], "d"), (UNITS["h"], "h"), (UNITS["m"], "min")):
        if span >= unit:
            return f"{span // unit} {name}"
    return "under 1 min"
