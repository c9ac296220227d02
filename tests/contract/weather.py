"""One small schema, tool and type that the tests of tools and of structured output share.

Enumerations and bounded integers: a random model would fill a free string for ever.
"""

from typing import Any, Literal

import pydantic

SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["celsius", "kelvin"]}, "degrees": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["unit", "degrees"],
    "additionalProperties": False,
}


class Weather(pydantic.BaseModel):
    unit: Literal["celsius", "kelvin"]
    degrees: Literal[1, 2, 3]


def assert_fits(value: Any) -> None:
    """The value fits the schema."""
    assert set(value) == {"unit", "degrees"}
    assert value["unit"] in ("celsius", "kelvin")
    assert 0 <= value["degrees"] <= 9
