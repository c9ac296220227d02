"""GET /v1/usage: what a key has used, in the shape of OpenAI's usage of an organization: a page of buckets of time."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, TypeVar
from urllib.parse import parse_qs

from app.config.prices import MILLION
from app.config.usage import USAGE_PATH
from app.endpoints.answers import BOOLEAN, INTEGER, NUMBER, STRING, Component, array, const, nullable, record
from app.endpoints.endpoint import Route
from app.usage.groups import PERIODS, ordered, parse_by
from app.usage.question import DEFAULT_DAYS, MOMENTS, Question, Sum, midnight, parse_moment, range_of
from contract.errors import ApiError, shown

T = TypeVar("T")
BY = ("day", "month", "model", "route", "status")
MOST_RESULTS = 1000
MOST_QUERY_BYTES = 2000

_AMOUNT = record({"value": NUMBER, "currency": STRING})
_RESULT = record(
    {
        "object": const("usage.result"),
        "num_model_requests": INTEGER,
        "input_tokens": INTEGER,
        "input_cached_tokens": INTEGER,
        "output_tokens": INTEGER,
        "images": INTEGER,
        "seconds": NUMBER,
        "characters": INTEGER,
        "amount": _AMOUNT,
    },
    {"model": STRING, "route": STRING, "status": nullable(INTEGER)},
)
_BUCKET = record(
    {"object": const("bucket"), "start_time": INTEGER, "end_time": INTEGER, "results": array(_RESULT)},
)

USAGE = Route(
    path=USAGE_PATH,
    summary="Retrieve usage",
    answer="What the API key has used: a bucket for each day or month that has any, or one for all.",
    query={
        "by": f"what to group by, separated by commas: {', '.join(BY)}",
        "since": f"the first moment, such as {MOMENTS}; left out: {DEFAULT_DAYS} days before the end",
        "until": "the end, in the same forms, itself not included; left out: now",
    },
    content={
        "application/json": Component(
            "UsagePage",
            record(
                {"object": const("page"), "data": array(_BUCKET), "has_more": BOOLEAN, "next_page": nullable(STRING)}
            ),
        )
    },
)


def question_of(
    query: bytes, where: dict[str, str], groups: Sequence[str] = BY, filters: Collection[str] = ()
) -> Question:
    """What is asked for in a URL, of requests `where` each name has that value; `filters` are names that the URL may
    give values to, too. Raises ApiError.
    """
    given = parse_qs(query[:MOST_QUERY_BYTES].decode("latin-1"), keep_blank_values=True)
    legal = [*USAGE.query, *filters]
    if unknown := [name for name in given if name not in legal]:
        message = f"`{shown(unknown[0])}` is no parameter of this route. Legal are {', '.join(legal)}."
        raise ApiError("unsupported_parameter", message, param=unknown[0])
    by = _read("by", lambda: parse_by(",".join(given.get("by", [])), groups))
    since, until = (_moment(given[name][-1], name) if name in given else None for name in ("since", "until"))
    begin, end = _read("since", lambda: range_of(since, until, datetime.now(UTC)))
    only = {name: given[name][-1] for name in filters if name in given}
    return Question(ordered(by), begin, end, only | where, MOST_RESULTS)


def _moment(text: str, name: str) -> datetime:
    return _read(name, lambda: parse_moment(text))


def _read(name: str, parse: Callable[[], T]) -> T:
    """What `parse` makes of the parameter `name`. Raises ApiError."""
    try:
        return parse()
    except ValueError as error:
        raise ApiError("invalid_value", f"`{name}`: {error}.", param=name) from None


def page(question: Question, sums: list[Sum], currency: str) -> dict[str, Any]:
    """The answer. Raises ApiError where there are more sums than an answer holds."""
    if len(sums) > MOST_RESULTS:
        message = f"The answer has more than {MOST_RESULTS} results. Ask for a shorter range, or group by less."
        raise ApiError("too_large", message, param="by")
    period = next((name for name in question.by if name in PERIODS), None)
    data = [
        _bucket(question, period, None if name is None else str(name), results, currency)
        for name, results in groupby(sums, lambda one: one.group[period] if period else None)
    ]
    return {"object": "page", "data": data, "has_more": False, "next_page": None}


def _bucket(
    question: Question, period: str | None, name: str | None, sums: Iterable[Sum], currency: str
) -> dict[str, Any]:
    begin, end = _times(question, period, name)
    results = list(_results(sums, currency))
    return {"object": "bucket", "start_time": begin, "end_time": end, "results": results}


def _times(question: Question, period: str | None, name: str | None) -> tuple[int, int]:
    """Unix times of a bucket's beginning and end. `name` is 2027-01-31 of a day, 2027-01 of a month."""
    if period is None or name is None:
        return int(question.since.timestamp()), int(question.until.timestamp())
    begin = midnight(datetime.fromisoformat(name if period == "day" else f"{name}-01").date())
    end = begin + timedelta(days=1)
    if period == "month":
        end = midnight((begin.replace(day=28) + timedelta(days=4)).replace(day=1).date())
    return int(begin.timestamp()), int(end.timestamp())


def _results(sums: Iterable[Sum], currency: str) -> Iterator[dict[str, Any]]:
    for one in sums:
        used = one.used
        yield {
            "object": "usage.result",
            "num_model_requests": one.requests,
            "input_tokens": used.input_tokens,
            "input_cached_tokens": used.cached_tokens,
            "output_tokens": used.output_tokens,
            "images": used.images,
            "seconds": round(used.seconds, 2),
            "characters": used.characters,
            "amount": {"value": one.cost / MILLION, "currency": currency},
        } | {name: value for name, value in one.group.items() if name not in PERIODS}
