"""Calls that an answer's end cut anywhere, as vLLM's hermes parser reads them: whole as streamed, and never as text."""

import json
import logging
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from contract.project import PROJECT_FOLDER
from deployments.vllm.internals.tool_calls import read_cut_tool_calls, report_length_of_cut_tool_calls

CALLS = ('{"name": "get_weather", "arguments": {"unit": "celsius"}}', '{"name": "ring", "arguments": {}}')
OUTPUT = "Let me see.\n" + "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in CALLS)
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("get_weather", "ring")]
CHOICES = ("auto", "required", {"type": "function", "function": {"name": "ring"}})
EVERY_CHOICE = pytest.mark.parametrize("choice", CHOICES, ids=["auto", "required", "named"])


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(PROJECT_FOLDER / "local_models" / "pocket-chat")


@pytest.fixture(scope="module")
def parser_class() -> Any:
    from vllm.parser import ParserManager

    read_cut_tool_calls()
    return ParserManager.get_parser(tool_parser_name="hermes", enable_auto_tools=True, tool_strict_level="parameter")


def request_of(choice: Any) -> Any:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    return ChatCompletionRequest(messages=[{"role": "user", "content": "a"}], tools=TOOLS, tool_choice=choice)


def whole(parser: Any, text: str, request: Any) -> tuple[str, list[tuple[str, str]]]:
    """The text and the calls, each its name and its arguments."""
    _, content, calls = parser.parse(text, request, enable_auto_tools=True)
    return content or "", [(call.name, call.arguments) for call in calls or []]


def streamed(parser: Any, text: str, request: Any) -> tuple[str, list[tuple[str, str]]]:
    content = ""
    calls: dict[int, tuple[str, str]] = {}
    for number, letter in enumerate(text, 1):
        delta = parser.parse_delta(letter, [9], request, prompt_token_ids=[1], finished=number == len(text))
        content += (delta and delta.content) or ""
        for part in delta.tool_calls if delta else ():
            name, arguments = calls.get(part.index, ("", ""))
            function = part.function
            calls[part.index] = (name + (function.name or ""), arguments + (function.arguments or ""))
    return content, [calls[index] for index in sorted(calls)]


@EVERY_CHOICE
def test_a_cut_call_reads_the_same_whole_as_streamed(
    tokenizer: Any, parser_class: Any, choice: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    request = request_of(choice)
    for end in range(1, len(OUTPUT) + 1):
        text = OUTPUT[:end]
        read = whole(parser_class(tokenizer, request.tools), text, request)
        content, calls = streamed(parser_class(tokenizer, request.tools), text, request)
        lone = "<" * text.endswith("see.\n<")  # it may be text; a stream holds it back
        assert read == (content + lone, calls), text
    assert read == ("Let me see.\n", [("get_weather", '{"unit": "celsius"}'), ("ring", "{}")])
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@EVERY_CHOICE
@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("<", []),
        ('<tool_call>\n{"na', []),
        ('<tool_call>\n{"name": "ri', []),
        ('<tool_call>\n{"name": "ring"', [("ring", "")]),
        ('<tool_call>\n{"name": "ring", "arguments": {"a": [1, "</to', [("ring", '{"a": [1, "')]),
        ('<tool_call>\n{"name": "ring", "arguments": {"a": 1}}', [("ring", '{"a": 1}')]),
        ('<tool_call>\n{"name": "ring", "arguments": {"a": tru}}\n</tool_call>', [("ring", '{"a": tru}')]),
        ('<tool_call>\n{"nothing": 1}\n</tool_call>', []),
    ],
)
def test_what_there_is_of_a_call(
    tokenizer: Any, parser_class: Any, choice: Any, text: str, calls: list[tuple[str, str]]
) -> None:
    request = request_of(choice)
    assert whole(parser_class(tokenizer, request.tools), text, request) == ("", calls)


@EVERY_CHOICE
def test_text_without_a_call_stays(tokenizer: Any, parser_class: Any, choice: Any) -> None:
    request = request_of(choice)
    for text in ("1 <", "a < b", "an answer"):
        assert whole(parser_class(tokenizer, request.tools), text, request) == (text, [])


def test_arguments_are_what_the_model_wrote(tokenizer: Any, parser_class: Any) -> None:
    request = request_of("auto")
    arguments = {"name": "x", "arguments": {"arguments": 1}, "text": "é </tool> \n"}
    call = json.dumps({"name": "ring", "arguments": arguments}, ensure_ascii=False)
    _, ((_, read),) = whole(parser_class(tokenizer, request.tools), f"<tool_call>{call}</tool_call>", request)
    assert json.loads(read) == arguments


async def test_the_finish_reason_of_a_cut_choice_is_length_and_of_others_what_vllm_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat

    async def complete(_: Any, __: Any, results: Any) -> Any:
        """As vLLM where the model chose by itself to call, in the first and the second of its choices."""
        numbers = [output.index async for result in results for output in result.outputs]
        return SimpleNamespace(
            choices=[SimpleNamespace(index=number, finish_reason="tool_calls") for number in numbers]
        )

    async def results() -> AsyncGenerator[Any]:
        for index, reason in enumerate(("length", "stop")):
            yield SimpleNamespace(outputs=[SimpleNamespace(index=index, finish_reason=reason)])

    monkeypatch.setattr(OpenAIServingChat, "chat_completion_full_generator", complete)
    report_length_of_cut_tool_calls()
    response = await OpenAIServingChat.chat_completion_full_generator(None, None, results())
    assert [choice.finish_reason for choice in response.choices] == ["length", "tool_calls"]
