"""Tools, the tool choice and the response format: parameters of chat completions and of responses."""

import re
from dataclasses import dataclass
from typing import Any

from app.parameters.kinds import PlacedSchema, Reading, wrong_type, wrong_value
from app.parameters.row import missing
from app.parameters.schemas import placed_schema
from contract.errors import ApiError
from contract.profile import Profile

MAX_TOOLS = 128
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
NAME_DESCRIPTION = "1 to 64 letters, digits, underscores or hyphens"
# Tools that OpenAI runs on its own machines; dated variants begin with these words.
HOSTED = (
    "web_search",
    "file_search",
    "computer",
    "code_interpreter",
    "image_generation",
    "mcp",
    "local_shell",
    "shell",
)
CHOICES = ("none", "auto", "required")


@dataclass(frozen=True, slots=True)
class Tools:
    """An array of function tools, nested as in chat completions (`function: {...}`) or flat as in responses.

    Responses also take custom tools, whose input is a free text.
    """

    nested: bool

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002 - the interface of all kinds
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if not 1 <= len(value) <= MAX_TOOLS:
            raise wrong_value(name, self.description())
        names: set[str] = set()
        schemas: list[PlacedSchema] = []
        for index, tool in enumerate(value):
            function_name = self._check(tool, f"{name}.{index}", schemas)
            if function_name in names:
                raise ApiError(
                    "invalid_value", f"`{name}` has two tools of the same name. Names must be unique.", param=name
                )
            names.add(function_name)
        return Reading(value, schemas=tuple(schemas))

    def description(self) -> str:
        kinds = "function tools" if self.nested else "function tools, or custom ones whose input is text"
        return f"an array of 1 to {MAX_TOOLS} {kinds}"

    def schema(self) -> dict[str, Any]:
        function = {
            "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
            "description": {"type": "string"},
            "parameters": {"type": "object"},
            "strict": {"type": "boolean"},
        }
        inner: dict[str, Any] = {"function": {"type": "object", "properties": function, "required": ["name"]}}
        fields = inner if self.nested else function
        kind = {"const": "function"} if self.nested else {"enum": ["function", "custom"]}
        item = {"type": "object", "properties": {"type": kind, **fields}, "required": ["type"]}
        return {"type": "array", "minItems": 1, "maxItems": MAX_TOOLS, "items": item}

    def _check(self, tool: Any, place: str, schemas: list[PlacedSchema]) -> str:
        if not isinstance(tool, dict):
            raise wrong_type(place, "an object")
        kind = tool.get("type")
        if isinstance(kind, str) and kind.startswith(HOSTED):
            raise ApiError(
                "unsupported_parameter",
                f"`{place}` is a hosted tool, which is not supported. Use a tool of type `function`.",
                param=place,
            )
        if kind == "custom":
            return self._check_custom(tool, place)
        if kind != "function":
            raise wrong_value(f"{place}.type", '"function"' if self.nested else '"function" or "custom"')
        function, place = (tool.get("function"), f"{place}.function") if self.nested else (tool, place)
        if not isinstance(function, dict):
            raise wrong_type(place, "an object")
        name = _name_of(function, place)
        if function.get("parameters") is not None:
            schemas.append(placed_schema(function["parameters"], f"{place}.parameters"))
        if not isinstance(function.get("strict"), bool | None):
            raise wrong_type(f"{place}.strict", "true or false")
        return name

    def _check_custom(self, tool: dict[str, Any], place: str) -> str:
        if self.nested:
            message = f"`{place}` is a custom tool, which /v1/responses has. Use a tool of type `function`."
            raise ApiError("unsupported_parameter", message, param=place)
        form = tool.get("format")
        if not isinstance(form, dict | None):
            raise wrong_type(f"{place}.format", "an object")
        if form is not None and form.get("type") == "grammar":
            message = "is a grammar, which no engine enforces on a tool's input. Leave it out, and describe the input."
            raise ApiError("unsupported_parameter", f"`{place}.format` {message}", param=f"{place}.format")
        if form is not None and form.get("type") != "text":
            raise wrong_value(f"{place}.format.type", '"text"')
        return _name_of(tool, place)


def _name_of(tool: dict[str, Any], place: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise wrong_value(f"{place}.name", NAME_DESCRIPTION)
    return name


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`none`, `auto`, `required`, or an object that names a tool."""

    nested: bool

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002
        if isinstance(value, str):
            if value not in CHOICES:
                raise wrong_value(name, self.description())
        elif not isinstance(value, dict):
            raise wrong_type(name, self.description())
        elif not isinstance(self.named(value), str):
            raise wrong_value(name, self.description())
        return Reading(value)

    def named(self, value: Any) -> Any:
        """The tool that an object names; None where it names none."""
        kinds = ("function",) if self.nested else ("function", "custom")
        if not isinstance(value, dict) or value.get("type") not in kinds:
            return None
        holder = value.get("function") if self.nested else value
        return holder.get("name") if isinstance(holder, dict) else None

    def description(self) -> str:
        return "one of " + ", ".join(f'"{choice}"' for choice in CHOICES) + ", or an object that names a tool"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "enum": list(CHOICES)}, {"type": "object"}]}

    def check(self, legal: dict[str, Any], _: Profile) -> tuple[()]:
        """A choice needs tools, and names one of them."""
        choice = legal.get("tool_choice")
        if choice is None or choice == "none":
            return ()
        if "tools" not in legal:
            raise ApiError("invalid_value", "`tool_choice` needs `tools`.", param="tool_choice")
        names = {(tool["type"], (tool["function"] if self.nested else tool)["name"]) for tool in legal["tools"]}
        if isinstance(choice, dict) and (choice["type"], self.named(choice)) not in names:
            message = f"`tool_choice` names a {choice['type']} that is not in `tools`."
            raise ApiError("invalid_value", message, param="tool_choice")
        return ()


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The format of the output: text, any JSON object, or JSON that follows a schema."""

    nested: bool  # chat completions have name and schema under `json_schema`, responses have them flat

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002
        if not isinstance(value, dict):
            raise wrong_type(name, self.description())
        kind = value.get("type")
        if kind not in ("text", "json_object", "json_schema"):
            raise wrong_value(f"{name}.type", 'one of "text", "json_object", "json_schema"')
        return Reading(value, schemas=self._schemas(value, name) if kind == "json_schema" else ())

    def description(self) -> str:
        return "an object of type `text`, `json_object` or `json_schema`"

    def schema(self) -> dict[str, Any]:
        named = {"name": {"type": "string"}, "schema": {"type": "object"}, "strict": {"type": "boolean"}}
        fields = {"json_schema": {"type": "object", "properties": named}} if self.nested else named
        kinds = {"type": {"enum": ["text", "json_object", "json_schema"]}}
        return {"type": "object", "properties": kinds | fields, "required": ["type"]}

    def _schemas(self, value: dict[str, Any], name: str) -> tuple[PlacedSchema]:
        holder, place = (value.get("json_schema"), f"{name}.json_schema") if self.nested else (value, name)
        if holder is None:
            raise missing(place)
        if not isinstance(holder, dict):
            raise wrong_type(place, "an object")
        label = holder.get("name")
        if not isinstance(label, str) or not NAME.fullmatch(label):
            raise wrong_value(f"{place}.name", NAME_DESCRIPTION)
        if holder.get("schema") is None:
            raise missing(f"{place}.schema")
        return (placed_schema(holder["schema"], f"{place}.schema"),)
