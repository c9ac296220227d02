"""Tools, the tool choice and the response format: parameters of chat completions and of responses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.parameters.input_formats import MAX_WRITTEN, InputFormat, check_format, format_of, format_schema
from app.parameters.kinds import PlacedSchema, Reading, wrong_type, wrong_value
from app.parameters.row import Replaced, missing
from app.parameters.schemas import MAX_PATTERN_SIZE, placed_schema
from contract.custom_tools import CALLED_INPUT_FORMATS, INPUT_GRAMMAR
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
KINDS = ("function", "custom")
ALLOWED = "allowed_tools"
MODES = ("auto", "required")


@dataclass(frozen=True, slots=True)
class Tools:
    """An array of function tools and of custom tools, whose input is a text.

    Nested as in chat completions (`function: {...}`, `custom: {...}`), or flat as in responses.
    """

    nested: bool

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002 - the interface of all kinds
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if not 1 <= len(value) <= MAX_TOOLS:
            raise wrong_value(name, self.description())
        names: set[str] = set()
        schemas: list[PlacedSchema] = []
        sizes: list[tuple[int, int]] = []  # of each format: as it is, and as the engine reads it
        for index, tool in enumerate(value):
            function_name = self._check(tool, f"{name}.{index}", schemas, sizes)
            if function_name in names:
                raise ApiError(
                    "invalid_value", f"`{name}` has two tools of the same name. Names must be unique.", param=name
                )
            names.add(function_name)
        return Reading(value, schemas=tuple(schemas))

    def description(self) -> str:
        return f"an array of 1 to {MAX_TOOLS} function tools, or custom ones whose input is text"

    def schema(self) -> dict[str, Any]:
        both = {"name": {"type": "string", "pattern": f"^{NAME.pattern}$"}, "description": {"type": "string"}}
        function = both | {"parameters": {"type": "object"}, "strict": {"type": "boolean"}}
        custom = both | {"format": format_schema(self.nested)}
        fields: dict[str, Any] = function | custom
        if self.nested:
            every = {"function": function, "custom": custom}
            fields = {k: {"type": "object", "properties": own, "required": ["name"]} for k, own in every.items()}
        item = {"type": "object", "properties": {"type": {"enum": list(KINDS)}, **fields}, "required": ["type"]}
        return {"type": "array", "minItems": 1, "maxItems": MAX_TOOLS, "items": item}

    def _check(self, tool: Any, place: str, schemas: list[PlacedSchema], sizes: list[tuple[int, int]]) -> str:
        if not isinstance(tool, dict):
            raise wrong_type(place, "an object")
        kind = tool.get("type")
        if isinstance(kind, str) and kind.startswith(HOSTED):
            raise ApiError(
                "unsupported_parameter",
                f"`{place}` is a hosted tool, which is not supported. Use a tool of type `function`.",
                param=place,
            )
        if kind not in KINDS:
            raise wrong_value(f"{place}.type", '"function" or "custom"')
        holder, place = fields_of(tool, self.nested), f"{place}.{kind}" if self.nested else place
        if not isinstance(holder, dict):
            raise wrong_type(place, "an object")
        name = _name_of(holder, place)
        if kind == "custom":
            self._check_custom(holder, place, sizes)
        elif holder.get("parameters") is not None:
            schemas.append(placed_schema(holder["parameters"], f"{place}.parameters"))
        if not isinstance(holder.get("strict"), bool | None):
            raise wrong_type(f"{place}.strict", "true or false")
        return name

    def _check_custom(self, tool: dict[str, Any], place: str, sizes: list[tuple[int, int]]) -> None:
        if not isinstance(tool.get("description"), str | None):
            raise wrong_type(f"{place}.description", "a string")
        form = check_format(tool, place, self.nested)
        if form is None:
            return
        sizes.append((len(form.definition), form.size()))
        limits = {
            f"{MAX_PATTERN_SIZE} characters": MAX_PATTERN_SIZE,
            f"{MAX_WRITTEN}, as the engine reads them,": MAX_WRITTEN,
        }
        for (limit, most), size in zip(limits.items(), map(sum, zip(*sizes, strict=True)), strict=True):
            if size > most:
                what = f"The grammars of `tools` are longer than {limit} together. Leave some out."
                raise ApiError("too_large", what, param=f"{place}.format")


def fields_of(tool: dict[str, Any], nested: bool) -> Any:
    """What a tool, or a choice of one, says beside its type: in a chat completion it stands under the type's name."""
    return tool.get(tool["type"]) if nested else tool


def described(fields: dict[str, Any], form: InputFormat) -> dict[str, Any]:
    """The fields of a tool with its format in words, which the model reads."""
    description = f"{fields.get('description') or ''}\n{form.in_words()}".lstrip()
    return {name: value for name, value in fields.items() if name != "format"} | {"description": description}


def _name_of(tool: dict[str, Any], place: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise wrong_value(f"{place}.name", NAME_DESCRIPTION)
    return name


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`none`, `auto`, `required`, or an object that names a tool or those that may be called."""

    nested: bool

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002
        if isinstance(value, str):
            if value not in CHOICES:
                raise wrong_value(name, self.description())
        elif not isinstance(value, dict):
            raise wrong_type(name, self.description())
        elif value.get("type") == ALLOWED:
            self._check_allowed(value, f"{name}.{ALLOWED}" if self.nested else name)
        elif self._named(value) is None:
            raise wrong_value(name, self.description())
        return Reading(value)

    def _check_allowed(self, value: dict[str, Any], place: str) -> None:
        allowed = fields_of(value, self.nested)
        if not isinstance(allowed, dict):
            raise wrong_type(place, "an object")
        if allowed.get("mode") not in MODES:
            raise wrong_value(f"{place}.mode", " or ".join(f'"{mode}"' for mode in MODES))
        tools = allowed.get("tools")
        if not isinstance(tools, list) or not 1 <= len(tools) <= MAX_TOOLS or None in map(self._named, tools):
            raise wrong_value(f"{place}.tools", f"an array of 1 to {MAX_TOOLS} objects that each name a tool")

    def _named(self, value: Any) -> tuple[str, str] | None:
        """The type and the name of the tool that an object names; None where it names none."""
        if not isinstance(value, dict) or value.get("type") not in KINDS:
            return None
        holder = fields_of(value, self.nested)
        name = holder.get("name") if isinstance(holder, dict) else None
        return (value["type"], name) if isinstance(name, str) else None

    def description(self) -> str:
        choices = ", ".join(f'"{choice}"' for choice in CHOICES)
        return f"one of {choices}, or an object that names a tool, or one of type `{ALLOWED}`"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "enum": list(CHOICES)}, {"type": "object"}]}

    def check(self, legal: dict[str, Any], _: Profile) -> tuple[()]:
        """A choice needs tools, and names one of them."""
        choice = legal.get("tool_choice")
        if choice is None or choice == "none":
            return ()
        if "tools" not in legal:
            raise ApiError("invalid_value", "`tool_choice` needs `tools`.", param="tool_choice")
        names = set(map(self._named, legal["tools"]))
        for kind, name in self._chosen(choice):
            if (kind, name) not in names:
                message = f"`tool_choice` names a {kind} that is not in `tools`."
                raise ApiError("invalid_value", message, param="tool_choice")
        return ()

    def drop_formats(self, legal: dict[str, Any], profile: Profile) -> Iterator[Replaced]:
        """Of tools that can be called, make words of the formats that the engine cannot keep."""
        choice, tools = self.resolved(legal)
        is_forced = self.forced(legal) is not None
        feature = INPUT_GRAMMAR if is_forced else CALLED_INPUT_FORMATS
        if choice == "none" or feature not in profile.lacks:
            return
        callable_ = set(map(self._named, tools))
        for index, tool in enumerate(legal.get("tools", ())):
            form = self.format_of(tool) if self._named(tool) in callable_ else None
            if form is not None and not (is_forced and form.syntax == "regex"):
                custom = described(fields_of(tool, self.nested), form)
                every = list(legal["tools"])
                every[index] = {"type": "custom", "custom": custom} if self.nested else custom
                place = f"tools.{index}.custom.format" if self.nested else f"tools.{index}.format"
                yield Replaced("tools", every, place, profile.lacks[feature])

    def format_of(self, tool: dict[str, Any]) -> InputFormat | None:
        """What the input of a legal tool has to match, if there is such."""
        return format_of(fields_of(tool, self.nested), self.nested) if tool["type"] == "custom" else None

    def resolved(self, legal: dict[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
        """The choice, and the tools among which it is: all, or of `allowed_tools` the allowed ones, and its mode."""
        choice, tools = legal.get("tool_choice"), legal.get("tools", [])
        if not isinstance(choice, dict) or choice["type"] != ALLOWED:
            return choice, tools
        chosen = set(self._chosen(choice))
        return fields_of(choice, self.nested)["mode"], [tool for tool in tools if self._named(tool) in chosen]

    def forced(self, legal: dict[str, Any]) -> dict[str, Any] | None:
        """The one tool that the model has to call, where there is one."""
        choice, tools = self.resolved(legal)
        if isinstance(choice, dict):
            return next(tool for tool in tools if self._named(tool) == self._named(choice))
        return tools[0] if choice == "required" and len(tools) == 1 else None

    def _chosen(self, choice: Any) -> list[tuple[str, str]]:
        """The tools that a legal choice names, each by its type and its name."""
        if not isinstance(choice, dict):
            return []
        references = fields_of(choice, self.nested)["tools"] if choice["type"] == ALLOWED else [choice]
        return [named for one in references if (named := self._named(one))]


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
