"""What every checked model is made of: a strict base, the types that several share, and how a fault reads."""

import re
from collections.abc import Iterable
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# A model's id is also a deployment's name and a part of a path.
MODEL_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
LONGEST_FIELD_NAME = 40  # ours are shorter, and every secret and every hash is longer

COMMIT = r"^[0-9a-f]{40}$"

ModelId = Annotated[str, StringConstraints(pattern=MODEL_ID)]
Commit = Annotated[str, StringConstraints(pattern=COMMIT)]
PositiveInt = Annotated[int, Field(ge=1)]
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


def explain(error: pydantic.ValidationError, whole: str) -> ConfigError:
    """`error` in our words; `whole` is the name of all that was checked, for faults of no single field."""
    return ConfigError("\n".join(_fault(one, whole) for one in error.errors(include_input=False)))


def _fault(error: Any, whole: str) -> str:
    parts = [str(part) if len(str(part)) <= LONGEST_FIELD_NAME else "(a long name)" for part in error["loc"]]
    place = re.sub(r"\.(\d+)", r"[\1]", ".".join(parts)) or whole
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "there is no such field; check its spelling and its place"
    return f"{place}: {message}"
