"""Keys of a config file that Ray Serve does not know. Serve itself ignores most of them, and goes on without."""

import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

import pydantic

from app.commands.findings.finding import Finding
from contract.fields import explain, misspelt

WHOLE = "the file"


def serve_findings(content: dict[str, Any]) -> Iterator[Finding]:
    """What Serve's own schema of the file says, beside what is under `args`."""
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415 - Ray takes seconds to import

    yield from _unknown(content, ServeDeploySchema, "")
    try:
        ServeDeploySchema.model_validate(content)
    except pydantic.ValidationError as error:
        for line in str(explain(error, WHOLE)).splitlines():
            if "there is no such field" not in line:  # these were found above
                yield Finding("", line)


def _unknown(value: Any, model: type[pydantic.BaseModel], place: str) -> Iterator[Finding]:
    """The keys of a mapping, and of all inside it, that the model has not."""
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        where = f"{place}.{key}" if place else str(key)
        field = model.model_fields.get(str(key))
        if field is None:
            yield Finding(where, misspelt(str(key), model.model_fields))
            continue
        models = list(_models(field.annotation))
        if len(models) != 1:  # of no shape, or of one that only Serve can tell
            continue
        if isinstance(inner, list):
            for number, one in enumerate(inner):
                yield from _unknown(one, models[0], f"{where}[{number}]")
        else:
            yield from _unknown(inner, models[0], where)


def _models(annotation: Any) -> Iterator[type[pydantic.BaseModel]]:
    """The models that a type names, but where a plain mapping is legal too."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, list):
        inner = get_args(annotation)
        if not any(one is dict or get_origin(one) is dict for one in inner):
            for one in inner:
                yield from _models(one)
