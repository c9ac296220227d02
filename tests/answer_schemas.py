"""Checks answers against the schemas that /openapi.json has for them."""

import json
from typing import Any

import jsonschema


def check_answer(document: dict[str, Any], path: str, content_type: str, body: bytes) -> None:
    """Raises jsonschema.ValidationError where `body` is not what `document` says of that path and content type."""
    method = "post" if "post" in document["paths"][path] else "get"
    media_type = content_type.partition(";")[0]
    schema = document["paths"][path][method]["responses"]["200"]["content"][media_type]["schema"]
    if "contentSchema" in schema:
        events = [line.partition("data: ")[2] for line in body.decode().split("\n") if line.startswith("data: ")]
        _check(document, schema["contentSchema"], [json.loads(event) for event in events if event != "[DONE]"])
    elif media_type == "application/json":
        _check(document, schema, json.loads(body))
    else:
        assert schema["type"] == "string"


def _check(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    jsonschema.validate(value, schema | {"components": document["components"]}, jsonschema.Draft202012Validator)
