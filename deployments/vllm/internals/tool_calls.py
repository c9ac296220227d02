"""What is changed in vLLM's tool calls: those that the end of an answer cuts, and the blanks in forced ones."""

from collections.abc import AsyncGenerator
from typing import Any

import pydantic


def read_cut_tool_calls() -> None:
    """Make vLLM's hermes parser read a complete answer as it reads a streamed one: a call that the answer's end cut
    keeps the arguments that are there. vLLM returns its markup as text, and logs a traceback.
    """
    from vllm.entrypoints.generate.base.protocol import ExtractedToolCallInformation, FunctionCall, ToolCall
    from vllm.tool_parsers import ToolParserManager
    from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser
    from vllm.tool_parsers.utils import partial_tag_overlap

    class HermesToolParser(Hermes2ProToolParser):  # type: ignore[misc]
        def extract_tool_calls(self, model_output: str, request: Any) -> Any:
            if self.tool_call_start_token not in model_output:
                beginning = partial_tag_overlap(model_output, self.tool_call_start_token)
                cut = beginning > 1 or beginning == len(model_output)  # behind a text, a lone `<` may be text too
                text = model_output[:-beginning] if cut else model_output
                return ExtractedToolCallInformation(tools_called=cut, tool_calls=[], content=text)
            delta = self.extract_tool_calls_streaming("", model_output, model_output, (), (), (), request)
            calls: dict[int, FunctionCall] = {}
            for part in delta.tool_calls if delta else ():
                call = calls.setdefault(part.index, FunctionCall(name=part.function.name or "", arguments=""))
                call.arguments += part.function.arguments or ""
            return ExtractedToolCallInformation(
                tools_called=True,
                tool_calls=[ToolCall(function=call) for call in calls.values()],
                content=delta and delta.content,
            )

        def get_remaining_unstreamed_args(self) -> str:
            return ""  # vLLM ends a stream that was cut behind a name with the arguments `{}`

    for name in ("hermes", "qwen3_json"):  # vLLM has the parser under both
        ToolParserManager.register_module(name, module=HermesToolParser)


def report_length_of_cut_tool_calls() -> None:
    """Make the finish reason of a choice that the token limit cut `length`, as in a stream: vLLM says `tool_calls`
    where the model chose by itself to call.
    """
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat

    complete = OpenAIServingChat.chat_completion_full_generator

    async def reported(self: Any, request: Any, result_generator: Any, *args: Any, **kwargs: Any) -> Any:
        cut: set[int] = set()

        async def results() -> AsyncGenerator[Any]:
            async for result in result_generator:
                cut.update(output.index for output in result.outputs if output.finish_reason == "length")
                yield result

        response = await complete(self, request, results(), *args, **kwargs)
        for choice in getattr(response, "choices", ()):  # an error has none
            if choice.index in cut:
                choice.finish_reason = "length"
        return response

    OpenAIServingChat.chat_completion_full_generator = reported


def bound_whitespace_of_tool_calls() -> None:
    """Make `disable_any_whitespace` hold for forced tool calls too: vLLM reads it for JSON schemas only, and a model
    then may write blanks between arguments until its limit.
    """
    from vllm.tool_parsers.abstract_tool_parser import ToolParser

    unbounded = ToolParser.get_structural_tag

    def bounded(self: Any, *args: Any, **kwargs: Any) -> Any:
        tag = unbounded(self, *args, **kwargs)
        _set_everywhere(tag, "max_whitespace_cnt", 1)  # zero is not legal there
        return tag

    ToolParser.get_structural_tag = bounded


def _set_everywhere(node: Any, name: str, value: Any) -> None:
    """Set the field `name` of every model inside a pydantic model that has it."""
    if isinstance(node, pydantic.BaseModel):
        if name in type(node).model_fields:
            setattr(node, name, value)
        for field in type(node).model_fields:
            _set_everywhere(getattr(node, field), name, value)
    elif isinstance(node, list | tuple):
        for item in node:
            _set_everywhere(item, name, value)
