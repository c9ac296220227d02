"""JSON schemas that clients send: what is refused before any engine sees it."""

from typing import Any

import pytest

from app.parameters.schemas import MAX_DEPTH, check_schema
from contract.errors import ApiError


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "string"}}},
        {"type": "string", "pattern": r"^\p{L}+$"},
        {"enum": [1, "a", None]},
        nested(MAX_DEPTH),
    ],
)
def test_a_schema_passes(schema: dict[str, Any]) -> None:
    check_schema(schema, "response_format")


@pytest.mark.parametrize(
    ("schema", "reported"),
    [
        ({"type": "nonsense"}, "`type`"),
        ({"type": "object", "properties": {"a": {"minimum": "x"}}}, "`properties.a.minimum`"),
        ({"required": "a"}, "`required`"),
        ({"pattern": "["}, "not a regular expression"),
        ({"patternProperties": {"(": {}}}, "not a regular expression"),
        ({"$ref": "https://example.com/schema.json"}, "points out of it"),
        ({"$ref": "file:///etc/passwd"}, "points out of it"),
        (nested(MAX_DEPTH + 1), "deeper than 32"),
        ({"description": "x" * 70_000}, "larger than 65536"),
    ],
)
def test_a_malformed_schema_is_a_422_that_says_where(schema: dict[str, Any], reported: str) -> None:
    with pytest.raises(ApiError) as caught:
        check_schema(schema, "response_format")
    assert (caught.value.status, caught.value.code) == (422, "invalid_json_schema")
    assert reported in caught.value.message


def test_what_is_no_object_is_a_400() -> None:
    with pytest.raises(ApiError) as caught:
        check_schema([], "tools.0.function.parameters")
    assert (caught.value.status, caught.value.param) == (400, "tools.0.function.parameters")
