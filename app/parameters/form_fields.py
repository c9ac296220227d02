"""The fields of a multipart form, which are all text, as the request that the same JSON would be."""

from typing import Any

import orjson

from app.parameters.adjust import STRICT
from app.parameters.adjustments import MAX_NAME_LENGTH
from app.parameters.kinds import Fixed, Flag, Items, Kind, Number, Text
from app.parameters.row import Table
from contract.errors import ApiError

WORDS = {"true": True, "false": False}


def request_of(table: Table, fields: list[tuple[str, str]]) -> dict[str, Any]:
    """The fields, in their order, as values of the kinds that `table` has for their names.

    A text that is no value of its kind stays as it is, and is refused where the request is checked. A list is a
    field that comes several times, as `name` or `name[]`; `name[key]` is a field of an object. An empty text means
    the same as an absent field.
    """
    request: dict[str, Any] = {}
    for sent_name, text in fields:
        base, bracket, key = sent_name.partition("[")
        name, key = (base, key.removesuffix("]")) if bracket and base in table.by_name else (sent_name, "")
        kind = _kind(table, name)
        if isinstance(kind, Items):
            if text:
                request.setdefault(name, []).append(_value(kind.kind, text))
        elif key:
            inner = request.setdefault(name, {})
            if not isinstance(inner, dict) or key in inner:
                raise _twice(name)
            inner[key] = text
        elif name in request:
            raise _twice(name)
        elif text:
            request[name] = _value(kind, text)
    return request


def _kind(table: Table, name: str) -> Kind:
    if name == STRICT:
        return Flag()
    row = table.by_name.get(name)
    kind = Text() if row is None else row.kind
    return kind.kind if isinstance(kind, Fixed) else kind


def _value(kind: Kind, text: str) -> Any:
    if isinstance(kind, Flag):
        return WORDS.get(text.lower(), text)
    if isinstance(kind, Number):
        try:
            number = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        return number if isinstance(number, (int, float)) else text
    return text


def _twice(name: str) -> ApiError:
    name = name[:MAX_NAME_LENGTH]
    return ApiError("invalid_form", f"The form has the field `{name}` twice. Send it once.", param=name)
