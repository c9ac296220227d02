"""What every checked model is made of: a strict base, the types that several share, and how a fault reads."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, get_args

import pydantic
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# A model's id is also a deployment's name and a part of a path.
MODEL_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
MOST = 2**53  # of what JSON carries without loss
LONGEST_FIELD_NAME = 40  # ours are shorter, and every secret and every hash is longer

COMMIT = r"^[0-9a-f]{40}$"

ModelId = Annotated[str, StringConstraints(pattern=MODEL_ID)]
Commit = Annotated[str, StringConstraints(pattern=COMMIT)]
PositiveInt = Annotated[int, Field(ge=1, le=MOST)]
PositiveFloat = Annotated[float, Field(gt=0)]


class ConfigError(ValueError):
    """The configuration is wrong. The message has one line per fault: the field, the fault, what is legal."""


class Strict(BaseModel):
    """No unknown fields, no changes after the check, and no error that repeats what was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def refuse_twice(ids: Iterable[str]) -> None:
    """Raises ValueError where an id comes a second time."""
    seen = set()
    for one in ids:
        if one in seen:
            raise ValueError(f"the id {one!r} stands there twice; ids are unique")
        seen.add(one)


def explain(error: pydantic.ValidationError, whole: str, model: type[BaseModel] | None = None) -> ConfigError:
    """`error` in our words; `whole` is the name of all that was checked, for faults of no single field.

    `model` is what it was checked against; with it, the nearest field is named for one that is not there.
    """
    return ConfigError("\n".join(_fault(one, whole, model) for one in error.errors(include_input=False)))


def misspelt(name: str, known: Iterable[str]) -> str:
    """The fault of a field that is not there."""
    near = get_close_matches(name[:LONGEST_FIELD_NAME], list(known), n=1)
    return f"there is no such field{f' (did you mean {near[0]}?)' if near else ''}; check its spelling and its place"


def _fault(error: Any, whole: str, model: type[BaseModel] | None) -> str:
    parts = [str(part) if len(str(part)) <= LONGEST_FIELD_NAME else "(a long name)" for part in error["loc"]]
    place = re.sub(r"\.(\d+)", r"[\1]", ".".join(parts)) or whole
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = misspelt(str(error["loc"][-1]), () if model is None else _fields_at(model, error["loc"][:-1]))
    return f"{place}: {message}"


def _fields_at(model: type[BaseModel], place: Iterable[int | str]) -> list[str]:
    """The fields that are legal at a place inside a model."""
    models = [model]
    for part in place:
        # What is no field of theirs is an item of a list, a key of a mapping, or which of several types it is.
        fields = [one.model_fields.get(str(part)) for one in models]
        inner = [found for field in fields if field is not None for found in _models_in(field.annotation)]
        models = inner if any(fields) else models
    return [name for one in models for name in one.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]
