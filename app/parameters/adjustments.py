"""The X-Param-Adjustments header, which says what was changed in a request: an RFC 9651 List."""

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from http_sf import DisplayString, Token, parse, ser

from contract.adjustments import Adjustment, Changed

HEADER = "x-param-adjustments"
MAX_HEADER_BYTES = 4096
MAX_NAME_LENGTH = 64
SEPARATOR = ", "
TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")
MAX_INTEGER = 10**15  # RFC 9651 integers have at most 15 digits, decimals 12 before and 3 after the point
MAX_DECIMAL = 10**12


def header_value(adjustments: Sequence[Adjustment]) -> str:
    """The header. A list over 4 KiB is cut and ends in `and-more;count=N`; what is cut is only counted."""
    items: list[str] = []
    size = -len(SEPARATOR)
    for adjustment in adjustments:
        items.append(_serialized(adjustment))
        size += len(SEPARATOR) + len(items[-1])
        if size > MAX_HEADER_BYTES:
            break
    else:
        return SEPARATOR.join(items)
    room = MAX_HEADER_BYTES - len(SEPARATOR) - len(_and_more(len(adjustments)))
    while size > room:
        size -= len(SEPARATOR) + len(items.pop())
    return SEPARATOR.join([*items, _and_more(len(adjustments) - len(items))])


def read_header(value: str) -> tuple[tuple[Adjustment, ...], int]:
    """The adjustments in a header of that form, and how many more there were. Raises ValueError."""
    found: list[Adjustment] = []
    unlisted = 0
    items: Any = parse(value.encode(), tltype="list") if value else ()
    for name, parameters in items:
        if "action" not in parameters:
            unlisted = int(parameters["count"])
            continue
        found.append(
            Adjustment(
                str(name),
                str(parameters["action"]),
                _changed(parameters.get("from")),
                _changed(parameters.get("to")),
                parameters.get("reason"),
            )
        )
    return tuple(found), unlisted


@lru_cache(maxsize=1024)
def _serialized(adjustment: Adjustment) -> str:
    """One item. Clients repeat themselves, so most are found again; names are short by then."""
    return ser([_item(adjustment)])


def _item(adjustment: Adjustment) -> tuple[Any, dict[str, Any]]:
    """The name, and what was done as its parameters."""
    parameters: dict[str, Any] = {"action": Token(adjustment.action)}
    if adjustment.before is not None and adjustment.after is not None:
        parameters |= {"from": _number(adjustment.before), "to": _number(adjustment.after)}
    if adjustment.reason is not None:
        parameters["reason"] = adjustment.reason
    return _name(adjustment.name), parameters


def _and_more(count: int) -> str:
    item: tuple[Any, dict[str, Any]] = (Token("and-more"), {"count": count})
    return ser([item])


def _name(name: str) -> Token | str | DisplayString:
    """A parameter's name as a Token; a name that cannot be one as a String."""
    if TOKEN.fullmatch(name):
        return Token(name)
    return name if name.isascii() and name.isprintable() else DisplayString(name)


def _number(value: Changed) -> int | Decimal | str:
    """A number as RFC 9651 can hold it, else as a string."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if abs(value) < MAX_INTEGER else str(value)
    decimal = Decimal(repr(value))
    exact = abs(decimal) < MAX_DECIMAL and decimal == round(decimal, 3)
    return round(decimal, 3) if exact else repr(value)


def _changed(value: Any) -> Changed | None:
    return float(value) if isinstance(value, Decimal) else value
