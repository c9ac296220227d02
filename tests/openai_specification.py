"""OpenAI's own schemas of answers and errors: `openai_answer_schemas.json`, a part of the specification it publishes.

`python -m tests.openai_specification openapi.json` writes that part anew from a file of
https://github.com/openai/openai-openapi.
"""

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.exceptions import best_match

PART = Path(__file__).with_name("openai_answer_schemas.json")
PREFIX = "#/components/schemas/"
# What the routes of this service answer.
ANSWERS = (
    "CreateChatCompletionResponse", "CreateChatCompletionStreamResponse", "CreateCompletionResponse",
    "TokenCountsResource", "Response", "ResponseStreamEvent",
    "CreateEmbeddingResponse", "ListModelsResponse", "Model", "ImagesResponse", "ImageGenStreamEvent",
    "CreateTranscriptionResponseJson", "CreateTranscriptionResponseVerboseJson",
    "CreateTranscriptionResponseStreamEvent", "CreateSpeechResponseStreamEvent", "ErrorResponse",
)  # fmt: skip
# Keywords that check nothing, or that drafts of JSON Schema do not share.
LEFT_OUT = frozenset(
    {"description", "title", "example", "examples", "default", "deprecated", "nullable", "discriminator",
     "$recursiveAnchor", "$recursiveRef"}
)  # fmt: skip


def violation(name: str, value: Any) -> str | None:
    """What is wrong with `value` by OpenAI's schema `name`, if anything is."""
    validator = jsonschema.Draft202012Validator(
        {"$ref": PREFIX + _kind(name, value), "components": {"schemas": _schemas()}}
    )
    error = best_match(validator.iter_errors(value))
    return error and f"{error.json_path}: {error.message[:500]}"


@cache
def _schemas() -> dict[str, Any]:
    return json.loads(PART.read_text())


def _kind(name: str, value: Any) -> str:
    """The schema of an event's own type, where `name` is that of all events: its errors say more."""
    kinds = [one["$ref"].removeprefix(PREFIX) for one in _schemas()[name].get("anyOf", ()) if "$ref" in one]
    types = {_schemas()[kind].get("properties", {}).get("type", {}).get("enum", [""])[0]: kind for kind in kinds}
    return types.get(value.get("type"), name)


def part_of(specification: dict[str, Any]) -> dict[str, Any]:
    """The schemas of `ANSWERS` and all that these refer to."""
    schemas = specification["components"]["schemas"]
    found: dict[str, Any] = {}
    waiting = list(ANSWERS)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _checked(schemas[name])
            waiting += [reference.removeprefix(PREFIX) for reference in _references(found[name])]
    return dict(sorted(found.items()))


def _checked(schema: Any, of_names: bool = False) -> Any:
    """`schema` as a validator reads it. `of_names`: its keys are names of fields, not keywords."""
    if isinstance(schema, list):
        return [_checked(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if of_names:
        return {name: _checked(one) for name, one in schema.items()}
    kept = {
        # `oneOf` stands there for schemas of which several fit.
        "anyOf" if word == "oneOf" else word: _checked(value, word == "properties")
        for word, value in schema.items()
        if word not in LEFT_OUT and not word.startswith("x-")
    }
    return {"anyOf": [kept, {"type": "null"}]} if schema.get("nullable") else kept


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for one in schema:
            yield from _references(one)
    elif isinstance(schema, dict):
        for word, value in schema.items():
            if word == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)


if __name__ == "__main__":
    lines = [
        f"{json.dumps(name)}: {json.dumps(schema)}"
        for name, schema in part_of(json.loads(Path(sys.argv[1]).read_text())).items()
    ]
    PART.write_text("{\n" + ",\n".join(lines) + "\n}\n")
