"""How large and how deep a request in JSON may be. What is there is counted before anything looks at what it is."""

from collections.abc import Iterable, Sequence, Sized
from typing import Any

from app.parameters.json_marks import depth, marks
from contract.errors import ApiError

MAX_DEPTH = 64
MAX_FIELDS = 256  # of the request itself, and of an option
MAX_MESSAGES = 4096  # also input items of a response; and the tool calls in all of them together
MAX_DROPPED = 2 * MAX_MESSAGES  # unknown fields inside one parameter: some clients put one into each part
MAX_PARTS = 1024  # of all messages together
MAX_VALUES = 65_536  # of all arrays and objects together
VALUES = "values in its arrays and objects"
OPENING = (b"[", b"{", b",")  # each stands before a value, or before none in an empty array or object


def check_text(body: bytes, max_values: int = MAX_VALUES) -> None:
    """Raises ApiError for JSON with more values than there may be, which would take long to parse."""
    if all(body.count(mark) <= max_values for mark in OPENING):  # those in strings included
        return
    # A value has two brackets, a comma and two strings at most: its name and itself.
    found = marks(body, 7 * max_values)
    if found is None or any(found.count(mark) > max_values for mark in OPENING):
        raise too_deep() if found and depth(found) > MAX_DEPTH else too_many(max_values, VALUES)


def check_bounds(request: dict[str, Any], max_values: int = MAX_VALUES) -> None:
    """Raises ApiError `too_large` or `invalid_json`. Texts cost nothing, however long they are."""
    check_count(request, MAX_FIELDS, "fields")
    level: list[Any] = [request]
    count = 0
    for _ in range(MAX_DEPTH):
        count += sum(map(len, level))
        if count > max_values:
            raise too_many(max_values, VALUES)
        level = [
            value
            for container in level
            for value in (container.values() if type(container) is dict else container)
            if type(value) is dict or type(value) is list
        ]
        if not level:
            return
    raise too_deep()


def check_count(things: Sized, most: int, what: str, name: str | None = None) -> None:
    """Raises ApiError `too_large` where there are more than `most`. `name` is their place, none: the request."""
    if len(things) > most:
        raise too_many(most, what, name)


def too_many(most: int, what: str, name: str | None = None) -> ApiError:
    subject = "The request" if name is None else f"`{name}`"
    return ApiError("too_large", f"{subject} has more than {most} {what}, the limit of a request.", param=name)


def too_deep(name: str | None = None) -> ApiError:
    subject = "The body" if name is None else f"`{name}`"
    return ApiError("invalid_json", f"{subject} is JSON nested deeper than {MAX_DEPTH} levels, the limit.", param=name)


def check_inner_counts(holders: Iterable[Any], fields: Sequence[str], most: int, what: str, name: str) -> None:
    """The same of what is in the arrays `fields` of `holders`, together."""
    arrays = (holder.get(field) for holder in holders if isinstance(holder, dict) for field in fields)
    if sum(len(array) for array in arrays if isinstance(array, list)) > most:
        raise too_many(most, what, name)
