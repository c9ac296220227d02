"""What is asked of the ledger: sums over a range of time, by what; and the sums that answer it."""

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from app.config.prices import Quantities

MOMENTS = "2027-01-31, 2027-01-31T18:00Z, a Unix time in seconds"
DEFAULT_DAYS = 30
LEAST, MOST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class Question(NamedTuple):
    """Sums of the requests that ended from `since` on and before `until`, both UTC."""

    by: tuple[str, ...]  # of GROUPS, each once
    since: datetime
    until: datetime
    where: dict[str, str]  # of key, team and model: only these
    limit: int | None = None  # of sums; where there are more, one more than these is found


class Sum(NamedTuple):
    """What the requests of one group used together."""

    group: dict[str, str | int | None]  # by the names of GROUPS; a status is a number, a day is 2027-01-31
    requests: int
    used: Quantities
    cost: int  # in millionths


def parse_moment(text: str) -> datetime:
    """A moment; without a time zone it is UTC, without a time of day it is its beginning. Raises ValueError."""
    try:
        found = datetime.fromtimestamp(int(text), UTC) if text.isascii() and text.isdigit() else _iso(text)
    except (ValueError, OverflowError, OSError):
        found = None
    if found is None or not LEAST <= found <= MOST:
        raise ValueError(f"{text[:40]!r} is no moment; legal are {MOMENTS}")
    return found


def range_of(since: datetime | None, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """From and to; left out: the last 30 days, with today. Raises ValueError."""
    end = until or now
    begin = since or midnight((end - timedelta(days=DEFAULT_DAYS)).date())
    if begin >= end:
        raise ValueError("`since` is not before `until`, so there is nothing between them")
    return begin, end


def midnight(day: date) -> datetime:
    """The first moment of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _iso(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
