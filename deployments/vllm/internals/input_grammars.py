"""Grammars of the inputs of custom tools in vLLM's tool calls, where a call is JSON."""

import argparse
import logging
import secrets
from typing import Any

from contract.custom_tools import CALLED_INPUT_FORMATS, INPUT, INPUT_GRAMMAR, INPUT_GRAMMARS
from deployments.vllm.internals.lark_grammars import holds_lark, tokenizer_of
from deployments.vllm.structural_tags import CLIENTS

logger = logging.getLogger("portico.vllm")

BACKENDS = ("auto", "xgrammar")
NOT_IN_CALLS = "the model's tool calls hold no grammars"
NOT_WITH_TOKENIZER = "the model's tokenizer cannot be held to grammars"
NOT_WITH_BACKEND = "the engine's backend for structured outputs reads no grammars"


def hold_input_grammars() -> None:
    """Make the tools that a request has grammars for hold them in their calls, wherever vLLM guides calls."""
    from vllm.tool_parsers.abstract_tool_parser import ToolParser

    unheld = ToolParser.get_structural_tag

    def held(self: Any, request: Any, **kwargs: Any) -> Any:
        grammars = (request.model_extra or {}).get(INPUT_GRAMMARS)
        if not grammars:
            return unheld(self, request, **kwargs)
        mark = secrets.token_hex()  # which no client's schema has
        marked = request.model_copy(update={"tools": [_marked(tool, grammars, mark) for tool in request.tools]})
        tag = unheld(self, marked, **kwargs)
        return tag and type(tag).model_validate(_put(tag.model_dump(), grammars, mark))

    ToolParser.get_structural_tag = held


def lacks_of(engine: Any, arguments: argparse.Namespace) -> dict[str, str]:
    """The features that are off: grammars of inputs at all, and what holds inputs in calls."""
    backend = arguments.structured_outputs_config.backend
    if backend not in BACKENDS or not holds_lark():
        return dict.fromkeys((INPUT_GRAMMAR, CALLED_INPUT_FORMATS), NOT_WITH_BACKEND)
    try:
        tokenizer_of(engine.get_tokenizer(), engine.model_config.get_vocab_size())
    except ValueError:
        return dict.fromkeys((INPUT_GRAMMAR, CALLED_INPUT_FORMATS), NOT_WITH_TOKENIZER)
    return {} if _are_held(engine, arguments) else {CALLED_INPUT_FORMATS: NOT_IN_CALLS}


def _are_held(engine: Any, arguments: argparse.Namespace) -> bool:
    """Whether a call that the model makes by itself would hold a grammar: tried with one."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers import ToolParserManager
    from vllm.tool_parsers.tool_strict_level import ToolStrictLevel

    from deployments.vllm.structural_tags import has_lark, llguidance_grammar

    if not arguments.tool_call_parser:
        return False
    tool = {"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}
    trial = {"messages": [], "tools": [tool], "tool_choice": "auto", INPUT_GRAMMARS: {"a": 'start: "a"'}}
    level = ToolStrictLevel.from_name(arguments.tool_strict_level)
    try:
        parser = ToolParserManager.get_tool_parser(arguments.tool_call_parser)(engine.get_tokenizer())
        found = parser.get_structural_tag(ChatCompletionRequest.model_validate(trial), strict_level=level)
        tag = found and found.model_dump()
        return has_lark(tag) and bool(llguidance_grammar(tag))
    except ValueError:
        return False
    except Exception:  # of a parser, each its own: the model serves all the same
        logger.warning("whether calls hold grammars could not be tried; they are taken not to", exc_info=True)
        return False


def _marked(tool: Any, grammars: dict[str, str], mark: str) -> Any:
    """A tool that has a grammar, with a schema that says so."""
    from openai.types.responses import FunctionTool

    name = tool.function.name if hasattr(tool, "function") else getattr(tool, "name", None)
    if name not in grammars:
        return tool
    schema = {"type": "object", mark: name}
    if hasattr(tool, "function"):
        return tool.model_copy(update={"function": tool.function.model_copy(update={"parameters": schema})})
    return FunctionTool(type="function", name=name, parameters=schema, strict=True)


def _put(node: Any, grammars: dict[str, str], mark: str) -> Any:
    """A tag, as plain JSON, with grammars in the place of marked schemas."""
    if isinstance(node, list):
        return [_put(item, grammars, mark) for item in node]
    if not isinstance(node, dict):
        return node
    schema = node.get("json_schema")
    if not isinstance(schema, dict) or mark not in schema:
        return {name: inner if name in CLIENTS else _put(inner, grammars, mark) for name, inner in node.items()}
    if node["style"] != "json":
        raise ValueError(NOT_IN_CALLS)
    begin, end = ({"type": "const_string", "value": text} for text in (f'{{"{INPUT}": "', '"}'))
    grammar = {"type": "grammar", "grammar": grammars[schema[mark]]}
    return {"type": "sequence", "elements": [begin, grammar, end]}
