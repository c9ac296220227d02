"""JSON Schemas of what clients get: short ways to write them. OpenAI's fields are named; more may come."""

from collections.abc import Iterable
from typing import Any, NamedTuple

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
BINARY: Schema = {"type": "string", "format": "binary"}


class Component(NamedTuple):
    """A schema that has a name of its own in /openapi.json."""

    name: str
    schema: Schema

    @property
    def ref(self) -> Schema:
        return {"$ref": f"#/components/schemas/{self.name}"}


def record(fields: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An object that has `fields`, and may have the `optional` ones."""
    return {"type": "object", "properties": fields | (optional or {}), "required": list(fields)}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def const(value: str) -> Schema:
    return {"type": "string", "const": value}


def one_of(values: Iterable[str]) -> Schema:
    return {"type": "string", "enum": list(values)}
