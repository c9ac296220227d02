"""What vLLM's own code makes of Anthropic's API, with what is changed in it: cut calls, and errors in full."""

import json
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.vllm.internals import messages

CHUNK = {
    "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3},
}  # fmt: skip
ERROR = {"error": {"message": "Grammar error", "type": "BadRequestError", "param": None, "code": 400}}


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Any:
    """vLLM's handler of this API, as it is changed here; it needs none of what it is made with."""
    from vllm.entrypoints.anthropic import api_router
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages

    for name in ("messages_full_converter", "message_stream_converter"):
        monkeypatch.setattr(AnthropicServingMessages, name, getattr(AnthropicServingMessages, name))
    monkeypatch.setattr(api_router, "translate_error_response", api_router.translate_error_response)
    messages.answer_cut_tool_calls_of_messages()
    messages.report_errors_of_messages_in_full()
    return AnthropicServingMessages.__new__(AnthropicServingMessages)


def completion(arguments: str, finish_reason: str) -> Any:
    call = SimpleNamespace(id="c", function=SimpleNamespace(name="ring", arguments=arguments))
    message = SimpleNamespace(reasoning=None, content=None, tool_calls=[call])
    choice = SimpleNamespace(finish_reason=finish_reason, stop_reason=None, message=message)
    return SimpleNamespace(
        id="chatcmpl-1", model="m", usage=None, choices=[choice], kv_transfer_params=None, ec_transfer_params=None
    )


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ('{"a": [1, 2], "b": "x"}', {"a": [1, 2], "b": "x"}),
        ('{"a": [1, 2], "b": "x', {"a": [1, 2]}),
        ('{"a": [1, 2', {"a": [1, 2]}),
        ("{", {}),
        ("", {}),
        ('{"a": tru}', {}),
        ("[1]", {}),
    ],
)
def test_a_cut_call_has_what_is_whole_of_its_input(serving: Any, arguments: str, read: dict[str, Any]) -> None:
    message = serving.messages_full_converter(completion(arguments, "length"))
    assert message.content[0].input == read
    assert message.stop_reason == "max_tokens"


async def streamed(serving: Any, *chunks: dict[str, Any]) -> list[str]:
    async def chat_events() -> AsyncGenerator[str]:
        for chunk in chunks:
            yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"

    return [event async for event in serving.message_stream_converter(chat_events())]


async def test_an_error_in_a_stream_is_passed_on_as_chat_has_it(serving: Any) -> None:
    assert await streamed(serving, ERROR) == [f"data: {json.dumps(ERROR)}\n\n"]
    start, error = await streamed(serving, CHUNK, ERROR)
    assert start.startswith("event: message_start\n")
    assert error == f"data: {json.dumps(ERROR)}\n\n"


def test_an_error_that_is_answered_has_its_parameter() -> None:
    from vllm.entrypoints.anthropic import api_router
    from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
    from vllm.exceptions import VLLMValidationError

    messages.report_errors_of_messages_in_full()
    answer = api_router.translate_error_response(
        create_error_response(VLLMValidationError("too long", parameter="input_tokens", value=9))
    )
    assert answer.status_code == 400
    assert json.loads(answer.body)["error"]["param"] == "input_tokens"


async def test_counting_passes_the_cache_of_images_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages
    from vllm.renderers.online_renderer import OnlineRenderer

    skipped: list[bool] = []

    async def render(_: Any, __: Any, *, skip_mm_cache: bool = False) -> None:
        skipped.append(skip_mm_cache)

    async def count(_: Any, request: Any, __: Any) -> None:
        await renderer.render_chat(request)

    monkeypatch.setattr(OnlineRenderer, "render_chat", render)
    monkeypatch.setattr(AnthropicServingMessages, "count_tokens", count)
    messages.count_tokens_past_the_cache_of_images()
    renderer = OnlineRenderer.__new__(OnlineRenderer)
    await AnthropicServingMessages.count_tokens(None, None, None)
    await renderer.render_chat(None)
    assert skipped == [True, False]
