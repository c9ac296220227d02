"""Tools, the choice of one, thinking and the output's format: parameters of Anthropic's API."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.parameters.kinds import UNKNOWN, Flag, Number, PlacedSchema, Reading, Text, wrong_type, wrong_value
from app.parameters.row import missing
from app.parameters.schemas import placed_schema
from app.parameters.tools import MAX_TOOLS
from contract.errors import ApiError
from contract.profile import Profile

NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
TOOL_FIELDS = ("type", "name", "description", "input_schema", "strict")
WITHOUT_EFFECT = ("cache_control", "eager_input_streaming")  # prompts are cached, and inputs streamed, in any case
CHOICES = ("auto", "any", "tool", "none")
MIN_BUDGET = 1024  # of thinking, in tokens
NO_BUDGET = "thinking_budget"  # the feature of a model whose thinking cannot be cut
SHOWN = "thinking is always shown"


@dataclass(frozen=True, slots=True)
class Tools:
    """An array of tools that the client runs itself."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if not 1 <= len(value) <= MAX_TOOLS:
            raise wrong_value(name, self.description())
        schemas: list[PlacedSchema] = []
        dropped: list[tuple[str, str]] = []
        kept = []
        for index, tool in enumerate(value):
            _check(tool, f"{name}.{index}", profile, schemas)
            kept.append({field: tool[field] for field in TOOL_FIELDS if tool.get(field) is not None})
            extra = tool.keys() - {*TOOL_FIELDS, *WITHOUT_EFFECT}
            dropped += [(f"{index}.{field}", UNKNOWN) for field in sorted(extra) if tool[field] is not None]
        if len({tool["name"] for tool in kept}) < len(kept):
            message = f"`{name}` has two tools of the same name. Names must be unique."
            raise ApiError("invalid_value", message, param=name)
        return Reading(kept, dropped=tuple(dropped), schemas=tuple(schemas))

    def description(self) -> str:
        return f"an array of 1 to {MAX_TOOLS} tools"

    def schema(self) -> dict[str, Any]:
        fields = {
            "type": {"const": "custom"},
            "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
            "description": {"type": "string"},
            "input_schema": {"type": "object"},
            "strict": {"type": "boolean"},
        }
        tool = {"type": "object", "properties": fields, "required": ["name", "input_schema"]}
        return {"type": "array", "minItems": 1, "maxItems": MAX_TOOLS, "items": tool}


def _check(tool: Any, place: str, profile: Profile, schemas: list[PlacedSchema]) -> None:
    if not isinstance(tool, dict):
        raise wrong_type(place, "an object")
    if tool.get("type") not in (None, "custom"):
        message = f"`{place}` is a tool of Anthropic's, which is not supported. Send a tool with an `input_schema`."
        raise ApiError("unsupported_parameter", message, param=place)
    tool_name = tool.get("name")
    if not isinstance(tool_name, str) or not NAME.fullmatch(tool_name):
        raise wrong_value(f"{place}.name", "1 to 128 letters, digits, underscores or hyphens")
    if tool.get("input_schema") is None:
        raise missing(f"{place}.input_schema")
    schemas.append(placed_schema(tool["input_schema"], f"{place}.input_schema"))
    for field, kind in (("description", Text()), ("strict", Flag())):
        if tool.get(field) is not None:
            kind.read(tool[field], f"{place}.{field}", profile)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """An object that says whether the model calls a tool, and which; and whether it may call several at once."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        kind = _type_of(value, name, CHOICES)
        if kind == "tool" and not isinstance(value.get("name"), str):
            raise wrong_type(f"{name}.name", "the name of a tool")
        if value.get("disable_parallel_tool_use") is not None:
            Flag().read(value["disable_parallel_tool_use"], f"{name}.disable_parallel_tool_use", profile)
        return _known(value, ("type", "name", "disable_parallel_tool_use"))

    def description(self) -> str:
        return "an object of type " + ", ".join(f"`{choice}`" for choice in CHOICES)

    def schema(self) -> dict[str, Any]:
        fields = {
            "type": {"enum": list(CHOICES)},
            "name": {"type": "string"},
            "disable_parallel_tool_use": {"type": "boolean"},
        }
        return {"type": "object", "properties": fields, "required": ["type"]}


def check_tool_choice(legal: dict[str, Any], _: Profile) -> tuple[()]:
    """A rule: a choice that calls a tool needs tools, and names one of them."""
    choice = legal.get("tool_choice", {"type": "none"})
    if choice["type"] in ("none", "auto"):
        return ()
    if "tools" not in legal:
        raise ApiError("invalid_value", "`tool_choice` needs `tools`.", param="tool_choice")
    if choice["type"] == "tool" and choice["name"] not in {tool["name"] for tool in legal["tools"]}:
        raise ApiError("invalid_value", "`tool_choice` names a tool that is not in `tools`.", param="tool_choice")
    return ()


@dataclass(frozen=True, slots=True)
class Thinking:
    """An object that says whether the model thinks before it answers, and for how many tokens at most."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        kind = _type_of(value, name, ("enabled", "adaptive", "disabled"))
        gone = [("display", SHOWN)] if value.get("display") is not None else []
        rest = {field: inner for field, inner in value.items() if field != "display"}
        if kind != "enabled":
            return _known(rest, ("type",), gone)
        if value.get("budget_tokens") is None:
            raise missing(f"{name}.budget_tokens")
        most = profile.limits.get("context_length", 0) - 1
        budget = Number(MIN_BUDGET, max(MIN_BUDGET, most), integer=True)
        reading = budget.read(value["budget_tokens"], f"{name}.budget_tokens", profile)
        if why := profile.lacks.get(NO_BUDGET):
            return _known({"type": "adaptive"}, ("type",), [*gone, ("budget_tokens", why)])
        known = _known(rest | {"budget_tokens": reading.value}, ("type", "budget_tokens"), gone)
        return known._replace(clamped=reading.clamped)

    def description(self) -> str:
        return "an object of type `enabled` (with `budget_tokens`), `adaptive` or `disabled`"

    def schema(self) -> dict[str, Any]:
        fields = {
            "type": {"enum": ["enabled", "adaptive", "disabled"]},
            "budget_tokens": {"type": "integer", "minimum": MIN_BUDGET},
        }
        return {"type": "object", "properties": fields, "required": ["type"]}


def check_thinking_budget(legal: dict[str, Any], _: Profile) -> tuple[()]:
    """A rule: some tokens are left for the answer."""
    if legal.get("thinking", {}).get("budget_tokens", 0) >= legal["max_tokens"]:
        message = f"`thinking.budget_tokens` must be at least {MIN_BUDGET} and less than `max_tokens`."
        raise ApiError("invalid_value", message, param="thinking.budget_tokens")
    return ()


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """JSON that follows a schema."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002 - the interface of all kinds
        _type_of(value, name, ("json_schema",))
        if not value.get("schema"):  # an empty one, the engine would not heed
            raise missing(f"{name}.schema")
        return Reading(value, schemas=(placed_schema(value["schema"], f"{name}.schema"),))

    def description(self) -> str:
        return "an object of type `json_schema` with a `schema`"

    def schema(self) -> dict[str, Any]:
        fields = {"type": {"const": "json_schema"}, "schema": {"type": "object"}}
        return {"type": "object", "properties": fields, "required": ["type", "schema"]}


def _type_of(value: Any, name: str, legal: tuple[str, ...]) -> str:
    """The type of an object. Raises ApiError where it is none of the `legal` ones."""
    if not isinstance(value, dict):
        raise wrong_type(name, "an object")
    kind = value.get("type")
    if kind not in legal:
        raise wrong_value(f"{name}.type", "one of " + ", ".join(legal))
    return str(kind)


def _known(value: Mapping[str, Any], fields: tuple[str, ...], gone: list[tuple[str, str]] | None = None) -> Reading:
    """`value` with no other fields than `fields`; `gone` are those that went before."""
    kept = {field: value[field] for field in fields if value.get(field) is not None}
    extra = [(field, UNKNOWN) for field in value if field not in fields and value[field] is not None]
    return Reading(kept, dropped=(*(gone or ()), *extra))
