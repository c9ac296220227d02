"""The arguments of function calls in a conversation: JSON in texts, which the engine parses, whole or cut off."""

from collections.abc import Iterable

from app.parameters.json_marks import depth, marks
from app.parameters.request_bounds import MAX_DEPTH, MAX_VALUES, too_deep, too_many

MAX_MARKS = 8 * MAX_VALUES  # a value of an object has a comma and four quotes


def check_arguments(texts: Iterable[tuple[str, str]], name: str) -> None:
    """Raises ApiError where one of `texts`, each with its place, is nested too deep to be parsed.

    `name` is the parameter that has them; the brackets, commas and quotes of those that may be deep are bounded
    together.
    """
    left = MAX_MARKS
    for place, text in texts:
        if text.count("[") + text.count("{") <= MAX_DEPTH:
            continue
        found = marks(text.encode(), left)
        if found is None:
            raise too_many(MAX_MARKS, "brackets, commas and quotes in the arguments of its function calls", name)
        left -= len(found)
        if depth(found) > MAX_DEPTH:
            raise too_deep(place)
