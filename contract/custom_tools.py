"""Custom tools, whose input is a text: what the gateway asks an engine for, which has functions only."""

from typing import Any, NamedTuple

INPUT = "input"  # the one argument of the function that stands for a custom tool
# A field of ours in the engine's request: by the name of a tool, the grammar of its input within a JSON string, in
# Lark's language as llguidance reads it.
INPUT_GRAMMARS = "portico_input_grammars"
# Features of an engine: it keeps the grammar of a tool that it has to call; and the formats of those that it may call.
INPUT_GRAMMAR, CALLED_INPUT_FORMATS = "input_grammar", "called_input_formats"


class CustomCalls(NamedTuple):
    """How the calls of a request's custom tools come back."""

    functions: tuple[str, ...] = ()  # of the engine, that stand for custom tools
    answer: str | None = None  # the custom tool whose input the whole text of the answer is
    request: dict[str, Any] | None = (
        None  # `tools` and `tool_choice` as the client sent them, where the answer repeats them
    )
