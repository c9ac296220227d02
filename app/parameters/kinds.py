"""The kinds of values that a parameter can have. A kind knows what is legal, its description, and its JSON Schema."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import orjson

from app.parameters.request_bounds import MAX_FIELDS, check_count
from contract.adjustments import Changed
from contract.errors import ApiError
from contract.profile import Profile

Bound = float | str | None  # a number, the name of one of the model's limits, or none
UNKNOWN = "unknown parameter"  # why a parameter, or a field of one, was dropped
INT64 = 2**63  # the integers of JSON that every engine can read are below it

PlacedSchema = tuple[str, dict[str, Any]]  # where a JSON Schema stands in the request, and the schema


class Reading(NamedTuple):
    """A legal value, and what is to be known of it."""

    value: Any
    clamped: tuple[Changed, Changed] | None = None  # from what to what
    dropped: tuple[tuple[str, str], ...] = ()  # fields inside it, and why
    schemas: tuple[PlacedSchema, ...] = ()  # inside it, not checked yet


class Kind(Protocol):
    """What the values of a parameter may be."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        """The legal value for `value`. Raises ApiError where there is none."""
        ...

    def description(self) -> str:
        """What is legal, after the words "must be"."""
        ...

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the legal values."""
        ...


def wrong_type(name: str, message: str) -> ApiError:
    return ApiError("invalid_type", f"`{name}` must be {message}.", param=name)


def wrong_value(name: str, message: str) -> ApiError:
    return ApiError("invalid_value", f"`{name}` must be {message}.", param=name)


def _bound(bound: Bound, profile: Profile) -> float | None:
    return profile.limit(bound) if isinstance(bound, str) else bound


@dataclass(frozen=True, slots=True)
class Number:
    """A number from `low` to `high`; beyond them it is clamped, and an integer to 64 bits. NaN is no number."""

    low: Bound = None
    high: Bound = None
    integer: bool = False

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        low, high = _bound(self.low, profile), _bound(self.high, profile)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise wrong_type(name, self._description(low, high))
        if self.integer and isinstance(value, float):
            if not value.is_integer():
                raise wrong_type(name, self._description(low, high))
            value = int(value)
        if self.integer:
            low, high = -INT64 if low is None else low, INT64 - 1 if high is None else high
        if low is not None and value < low:
            return Reading(low, (value, low))
        if high is not None and value > high:
            return Reading(high, (value, high))
        return Reading(value)

    def description(self) -> str:
        return self._description(self.low, self.high)

    def _description(self, low: Bound, high: Bound) -> str:
        what = "an integer" if self.integer else "a number"
        if low is None and high is None:
            return what
        low, high = (f"the model's {b.replace('_', ' ')}" if isinstance(b, str) else b for b in (low, high))
        if high is None:
            return f"{what}, at least {low}"
        return f"{what} from {low} to {high}"

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "integer" if self.integer else "number"}
        if isinstance(self.low, int | float):
            schema["minimum"] = self.low
        if isinstance(self.high, int | float):
            schema["maximum"] = self.high
        return schema


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002 - the interface of all kinds
        if not isinstance(value, bool):
            raise wrong_type(name, self.description())
        return Reading(value)

    def description(self) -> str:
        return "true or false"

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    min_length: int = 0
    max_length: int | None = None

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002
        if not isinstance(value, str):
            raise wrong_type(name, self.description())
        if len(value) < self.min_length or (self.max_length is not None and len(value) > self.max_length):
            raise wrong_value(name, self.description())
        return Reading(value)

    def description(self) -> str:
        if self.max_length is None:
            return "a string" if not self.min_length else "a string that is not empty"
        return f"a string of {self.min_length} to {self.max_length} characters"

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string"}
        if self.min_length:
            schema["minLength"] = self.min_length
        if self.max_length is not None:
            schema["maxLength"] = self.max_length
        return schema


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few strings."""

    values: tuple[str, ...]
    unsupported: tuple[tuple[str, str], ...] = ()  # legal elsewhere and refused by name; why, as the message ends

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002
        if not isinstance(value, str):
            raise wrong_type(name, self.description())
        if value not in self.values:
            if why := dict(self.unsupported).get(value):
                raise ApiError("unsupported_parameter", f"`{name}` {value} is not supported: {why}", param=name)
            raise wrong_value(name, self.description())
        return Reading(value)

    def description(self) -> str:
        return "one of " + ", ".join(f'"{value}"' for value in self.values)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.values)}


@dataclass(frozen=True, slots=True)
class Items:
    """An array of values of one kind, or, where `single` is set, one such value alone. None of them is clamped."""

    kind: Kind
    min_items: int
    max_items: int
    single: bool = False

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if self.single and not isinstance(value, list):
            return self.kind.read(value, name, profile)
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if not self.min_items <= len(value) <= self.max_items:
            raise wrong_value(name, self.description())
        for index, item in enumerate(value):
            if self.kind.read(item, f"{name}.{index}", profile).clamped:
                raise wrong_value(f"{name}.{index}", self.kind.description())
        return Reading(value)

    def description(self) -> str:
        alone = f"{self.kind.description()}, or " if self.single else ""
        return f"{alone}an array of {self.min_items} to {self.max_items} items, each {self.kind.description()}"

    def schema(self) -> dict[str, Any]:
        array: dict[str, Any] = {"type": "array", "items": self.kind.schema(), "maxItems": self.max_items}
        if self.min_items:
            array["minItems"] = self.min_items
        return {"anyOf": [self.kind.schema(), array]} if self.single else array


@dataclass(frozen=True, slots=True)
class File:
    """The bytes of a file, which only a multipart form can hold."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002
        if not isinstance(value, (bytes, bytearray)):
            raise wrong_type(name, self.description())
        return Reading(value)

    def description(self) -> str:
        return "a file"

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "contentMediaType": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class Fixed:
    """One value of a kind; any other is not supported, and `why` ends the error's message."""

    kind: Kind
    value: Any
    why: str

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if self.kind.read(value, name, profile).value != self.value:
            raise ApiError("unsupported_parameter", f"`{name}` must be {self.description()}: {self.why}", param=name)
        return Reading(value)

    def description(self) -> str:
        return orjson.dumps(self.value).decode()

    def schema(self) -> dict[str, Any]:
        return {"const": self.value}


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of fields that may each be left out. Dropped are unknown ones, and those whose feature is lacking."""

    fields: dict[str, Kind]
    features: Mapping[str, str] = field(default_factory=dict)  # by the field that needs it

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, dict):
            raise wrong_type(name, self.description())
        check_count(value, MAX_FIELDS, "fields", name)
        kept: dict[str, Any] = {}
        dropped: list[tuple[str, str]] = []
        schemas: tuple[PlacedSchema, ...] = ()
        for part, inner in value.items():
            if inner is None:
                continue
            if part not in self.fields:
                dropped.append((part, UNKNOWN))
            elif why := profile.lacks.get(self.features.get(part, "")):
                dropped.append((part, why))
            else:
                reading = self.fields[part].read(inner, f"{name}.{part}", profile)
                kept[part] = reading.value
                schemas += reading.schemas
        return Reading(kept, dropped=tuple(dropped), schemas=schemas)

    def description(self) -> str:
        return "an object with any of " + ", ".join(f"`{field}`" for field in self.fields)

    def schema(self) -> dict[str, Any]:
        properties = {field: kind.schema() for field, kind in self.fields.items()}
        return {"type": "object", "maxProperties": MAX_FIELDS, "properties": properties}


@dataclass(frozen=True, slots=True)
class Anything:
    """Any value, of a parameter whose value has no effect."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002
        return Reading(value)

    def description(self) -> str:
        return "anything"

    def schema(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True)
class Metadata:
    """Up to 16 pairs of strings, keys of at most 64 characters, values of at most 512."""

    max_pairs: int = 16
    max_key: int = 64
    max_value: int = 512

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002
        if not isinstance(value, dict):
            raise wrong_type(name, self.description())
        value = {key: text for key, text in value.items() if text is not None}
        if len(value) > self.max_pairs:
            raise wrong_value(name, self.description())
        for key, text in value.items():
            if not isinstance(text, str):
                raise wrong_type(name, self.description())
            if len(key) > self.max_key or len(text) > self.max_value:
                raise wrong_value(name, self.description())
        return Reading(value)

    def description(self) -> str:
        return (
            f"an object of up to {self.max_pairs} strings, keys of at most {self.max_key} characters, values of at "
            f"most {self.max_value}"
        )

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "maxProperties": self.max_pairs,
            "propertyNames": {"maxLength": self.max_key},
            "additionalProperties": {"type": "string", "maxLength": self.max_value},
        }
