"""Custom tools for an engine that has functions: a function with one argument, a text.

Where the input has a format and the model has to call its tool, the format guides the answer's whole text, which is
then that input. Where it may call others, or none, the format guides the argument, in the JSON of a call.
"""

from typing import Any

import orjson

from app.parameters.tools import ToolChoice, described, fields_of
from contract.custom_tools import INPUT, INPUT_GRAMMARS, CustomCalls

CHAT_TOOLS, RESPONSES_TOOLS = ToolChoice(nested=True), ToolChoice(nested=False)
ARGUMENTS = {
    "type": "object",
    "properties": {INPUT: {"type": "string", "description": "The input of the tool: a text."}},
    "required": [INPUT],
    "additionalProperties": False,
}
# What a Response has of each function.
NO_TOOL = {"description": None, "parameters": None, "strict": None}


def called_as_functions(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a chat completion, with functions for custom tools and their calls."""
    body = parameters | _chosen(CHAT_TOOLS, parameters)
    if "tools" in body:
        body["tools"] = list(map(_function, body["tools"]))
    if isinstance(choice := body.get("tool_choice"), dict) and choice["type"] == "custom":
        body["tool_choice"] = {"type": "function", "function": {"name": choice["custom"]["name"]}}
    if "messages" in body:
        body["messages"] = list(map(_with_function_calls, body["messages"]))
    if "structured_outputs" in body:
        body.pop("response_format", None)  # the call stands in the text's place
    return body


def called_by_response(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a response as the engine has them; it makes functions of custom tools itself."""
    body = parameters | _chosen(RESPONSES_TOOLS, parameters)
    if "tools" in body:
        body["tools"] = [_in_words(tool, RESPONSES_TOOLS) for tool in body["tools"]]
    if "structured_outputs" in body and "text" in body:
        body["text"] = {name: value for name, value in body["text"].items() if name != "format"}
    return body


def chat_calls(parameters: dict[str, Any]) -> CustomCalls | None:
    """How the calls of a chat completion's custom tools come back."""
    names = tuple(tool["custom"]["name"] for tool in parameters.get("tools", ()) if tool["type"] == "custom")
    return CustomCalls(names, _answering(CHAT_TOOLS, parameters)) if names else None


def response_calls(parameters: dict[str, Any]) -> CustomCalls | None:
    """What a response repeats, where the engine gets something else; and whether its text is the input of a call."""
    body = called_by_response(parameters)
    if all(body.get(name) == parameters.get(name) for name in ("tools", "tool_choice")):
        return None
    asked = {"tools": list(map(shown, parameters["tools"])), "tool_choice": parameters.get("tool_choice", "auto")}
    return CustomCalls(answer=_answering(RESPONSES_TOOLS, parameters), request=asked)


def shown(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool as a Response repeats it."""
    return NO_TOOL | tool if tool["type"] == "function" else tool


def _chosen(tool_choice: ToolChoice, parameters: dict[str, Any]) -> dict[str, Any]:
    """The tools and the choice that engines know; and where the one call has a grammar, that of the text."""
    if "tools" not in parameters:
        return {}
    choice, tools = tool_choice.resolved(parameters)
    found = {"tools": tools} | ({} if choice is None else {"tool_choice": choice})
    tool = tool_choice.forced(parameters)
    if tool is not None and (form := tool_choice.format_of(tool)) is not None:
        return found | {"tool_choice": "none", "structured_outputs": form.structured_outputs()}
    if tool is None and choice != "none" and (grammars := _grammars(tool_choice, tools)):
        found[INPUT_GRAMMARS] = grammars
    return found


def _grammars(tool_choice: ToolChoice, tools: list[dict[str, Any]]) -> dict[str, str]:
    """The grammars of the tools that may be called, by their names."""
    forms = ((fields_of(tool, tool_choice.nested)["name"], tool_choice.format_of(tool)) for tool in tools)
    return {name: form.in_json() for name, form in forms if form is not None}


def _answering(tool_choice: ToolChoice, parameters: dict[str, Any]) -> str | None:
    """The name of the tool whose input is the whole text, if that is so."""
    tool = tool_choice.forced(parameters)
    if tool is None or tool_choice.format_of(tool) is None:
        return None
    name: str = (tool["custom"] if tool_choice.nested else tool)["name"]
    return name


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool of a chat completion as a function."""
    if tool["type"] == "function":
        return tool
    custom = _in_words(tool, CHAT_TOOLS)
    function = {"name": custom["name"], "description": custom.get("description"), "parameters": ARGUMENTS}
    return {"type": "function", "function": function}


def _in_words(tool: dict[str, Any], tool_choice: ToolChoice) -> dict[str, Any]:
    """The fields of a tool, with words in the place of its format."""
    fields: dict[str, Any] = fields_of(tool, tool_choice.nested)
    form = tool_choice.format_of(tool)
    return fields if form is None else described(fields, form)


def _with_function_calls(message: dict[str, Any]) -> dict[str, Any]:
    """A message of a chat completion with calls of functions only."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list) or not any(isinstance(call, dict) and "custom" in call for call in calls):
        return message
    return message | {"tool_calls": list(map(_function_call, calls))}


def _function_call(call: Any) -> Any:
    if not isinstance(call, dict) or call.get("type") != "custom":
        return call
    arguments = orjson.dumps({INPUT: call["custom"]["input"]}).decode()
    function = {"name": call["custom"]["name"], "arguments": arguments}
    return {"id": call["id"], "type": "function", "function": function}
