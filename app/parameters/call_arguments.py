"""The arguments of function calls in a conversation: JSON in texts, which the engine parses, whole or cut off."""

from collections.abc import Iterable
from itertools import accumulate

from app.parameters.request_bounds import MAX_DEPTH, MAX_VALUES, too_many
from contract.errors import ApiError

# A step down for each bracket that opens, a step up for each that closes, as signed bytes; nothing for all else.
STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def check_arguments(texts: Iterable[tuple[str, str]], name: str) -> None:
    """Raises ApiError where one of `texts`, each with its place, is nested too deep to be parsed.

    `name` is the parameter that has them; the brackets and quotes of those that may be deep are bounded together.
    """
    marks = 0
    for place, text in texts:
        if text.count("[") + text.count("{") <= MAX_DEPTH:
            continue
        plain = text.replace("\\\\", "").replace('\\"', "").encode()
        marks += plain.count(b'"')
        if marks <= MAX_VALUES:
            steps = b"".join(plain.split(b'"')[::2]).translate(STEPS, NO_BRACKETS)
            marks += len(steps)
        if marks > MAX_VALUES:
            raise too_many(MAX_VALUES, "brackets and quotes in the arguments of its function calls", name)
        if max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH:
            raise ApiError("invalid_json", f"`{place}` is JSON nested deeper than {MAX_DEPTH} levels.", param=place)
