"""JSON Schemas that clients send: bounded, well-formed, self-contained. Checked before any engine sees them."""

from typing import Any

import jsonschema
import orjson
import regex

from contract.errors import ApiError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32
NO_FORMATS = jsonschema.FormatChecker(formats=())  # it would read patterns by Python's grammar


def check_schema(schema: Any, name: str) -> None:
    """Raises ApiError `invalid_json_schema` where `schema` cannot guide the output. `name` is its place."""
    if not isinstance(schema, dict):
        raise ApiError("invalid_type", f"`{name}` must be an object: a JSON Schema.", param=name)
    _check_bounds(schema, name)
    try:
        jsonschema.Draft202012Validator.check_schema(schema, format_checker=NO_FORMATS)
    except jsonschema.SchemaError as error:
        place = ".".join(map(str, error.path))
        where = f" at `{place[:200]}`" if place else ""
        raise _malformed(name, f"it is not a JSON Schema{where}: the keyword's value has the wrong form") from None


def _check_bounds(schema: dict[str, Any], name: str) -> None:
    if len(orjson.dumps(schema)) > MAX_BYTES:
        raise _malformed(name, f"it is larger than {MAX_BYTES} bytes")
    waiting: list[tuple[Any, int]] = [(schema, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise _malformed(name, f"it is nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, dict):
            _check_node(node, name)
        children = node.values() if isinstance(node, dict) else node
        waiting += [(child, depth + 1) for child in children if isinstance(child, dict | list)]


def _check_node(node: dict[str, Any], name: str) -> None:
    reference = node.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        raise _malformed(name, "a `$ref` points out of it; only references that begin with # are followed")
    pattern_properties = node.get("patternProperties")
    patterns = [node.get("pattern"), *(pattern_properties if isinstance(pattern_properties, dict) else ())]
    for pattern in patterns:
        if isinstance(pattern, str):
            try:
                regex.compile(pattern)
            except regex.error:
                raise _malformed(name, "a pattern is not a regular expression") from None


def _malformed(name: str, fault: str) -> ApiError:
    return ApiError("invalid_json_schema", f"The JSON schema in `{name}` cannot be used: {fault}.", param=name)
