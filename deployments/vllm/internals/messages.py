"""What is changed in vLLM's routes of Anthropic's API: cut calls, errors, and the counting of tokens."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

import pydantic_core


def answer_cut_tool_calls_of_messages() -> None:
    """Make a call that the token limit cut an answer on Anthropic's route: vLLM fails to parse its arguments. What is
    whole of them is its input.
    """
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages

    convert = AnthropicServingMessages.messages_full_converter

    def converted(self: Any, response: Any) -> Any:
        for call in response.choices[0].message.tool_calls:
            call.function.arguments = _whole_arguments(call.function.arguments)
        return convert(self, response)

    AnthropicServingMessages.messages_full_converter = converted


def _whole_arguments(arguments: str) -> str:
    """`arguments` as a JSON object, without what is cut in it."""
    try:
        value = pydantic_core.from_json(arguments, allow_partial=True)
    except ValueError:  # it is not even the beginning of any
        value = {}
    return json.dumps(value if isinstance(value, dict) else {})


def report_errors_of_messages_in_full() -> None:
    """Make vLLM report errors on Anthropic's routes as on chat: with the parameter, and in a stream with the status."""
    from starlette.responses import JSONResponse
    from vllm.entrypoints.anthropic import api_router
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages

    convert = AnthropicServingMessages.message_stream_converter

    async def converted(self: Any, chat_events: AsyncGenerator[str]) -> AsyncGenerator[str]:
        errors: list[str] = []

        async def good() -> AsyncGenerator[str]:
            async for event in chat_events:
                if event.startswith('data: {"error"'):
                    errors.append(event)
                    return
                yield event

        async with aclosing(convert(self, good())) as events:
            async for event in events:
                yield event
        for event in errors:
            yield event

    AnthropicServingMessages.message_stream_converter = converted
    api_router.translate_error_response = lambda error: JSONResponse(error.model_dump(), error.error.code)


def count_tokens_past_the_cache_of_images() -> None:
    """Make the counting of tokens leave vLLM's cache of images alone: it notes them as known to the engine, which never
    gets them, and then fails the next message that has one.
    """
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages
    from vllm.renderers.online_renderer import OnlineRenderer

    counts = ContextVar("counts", default=False)
    count, render = AnthropicServingMessages.count_tokens, OnlineRenderer.render_chat

    async def counted(*args: Any) -> Any:
        before = counts.set(True)
        try:
            return await count(*args)
        finally:
            counts.reset(before)

    async def rendered(*args: Any, skip_mm_cache: bool = False) -> Any:
        return await render(*args, skip_mm_cache=skip_mm_cache or counts.get())

    AnthropicServingMessages.count_tokens = counted
    OnlineRenderer.render_chat = rendered
