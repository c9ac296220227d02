"""POST /v1/messages and POST /v1/messages/count_tokens, of Anthropic's API."""

from dataclasses import replace
from typing import Any

import orjson

from app.budgets.estimate import CountedFields
from app.endpoints.answers import INTEGER, OBJECT, STRING, Component, array, const, nullable, one_of, record
from app.endpoints.api_style import ANTHROPIC
from app.endpoints.endpoint import Endpoint, Exchange
from app.parameters import generation, refused_extras
from app.parameters.anthropic_messages import Messages, System, images, readable
from app.parameters.anthropic_tools import (
    OutputFormat,
    Thinking,
    ToolChoice,
    Tools,
    check_thinking_budget,
    check_tool_choice,
)
from app.parameters.generation import MAX_STOPS, TOKEN_LIMIT
from app.parameters.kinds import Fields, Items, Number, OneOf, Text
from app.parameters.media import media_bytes
from app.parameters.row import MODEL, STREAM, Parameter, Table, ignored, refused
from contract import sse
from contract.errors import ApiError
from contract.protocol import COUNT_TOKENS_ROUTE, EVENT_STREAM, MESSAGES_ROUTE

EFFORTS = ("low", "medium", "high", "xhigh", "max")
OUTPUT = Fields({"effort": OneOf(EFFORTS), "format": OutputFormat()}, features={"effort": "reasoning_effort"})
HOSTED = "hosted tools are not supported; send tools of your own in `tools`."

# What a prompt is made of: the parameters of both routes.
PROMPT = (
    MODEL,
    Parameter("messages", Messages(), "The messages of the conversation.", required=True, capability="chat"),
    Parameter("system", System(), "System prompt: text or text blocks.", absent=([],)),
    Parameter("tools", Tools(), "Tools that the model may call.", capability="tools", absent=([],)),
    Parameter(
        "tool_choice",
        ToolChoice(),
        "Which tool the model calls, if any.",
        capability="tools",
        needless=({"type": "none"}, {"type": "auto"}),
    ),
    Parameter(
        "thinking",
        Thinking(),
        "Whether the model thinks before it answers.",
        feature="thinking",
        needless=({"type": "disabled"},),
    ),
    Parameter("output_config", OUTPUT, "Effort of the model, and a JSON schema that its answer follows."),
    Parameter("output_format", OutputFormat(), "Former name of `output_config.format`."),
    generation.CHAT_TEMPLATE_KWARGS,
    ignored("cache_control", "Prompts are cached by their content."),
    ignored("context_management", "The conversation is read whole."),
    ignored("speed", "There is one speed."),
    ignored("diagnostics", "Prompts are cached by their content."),
    refused("thread", "conversations are not stored; send the whole one in `messages`."),
    refused("compaction", "conversations are not summarized; send a shorter one."),
    refused("mcp_servers", HOSTED),
    refused("container", HOSTED),
    *refused_extras.OPERATOR_S,
)
TABLE = Table(
    rows=(
        *PROMPT,
        Parameter("max_tokens", TOKEN_LIMIT, "Maximum number of tokens to generate, thinking included.", required=True),
        STREAM,
        Parameter("stop_sequences", Items(Text(1), 0, MAX_STOPS), "Generation stops before any of these."),
        Parameter("temperature", Number(0.0, 1.0), "Sampling temperature. 0 is greedy sampling."),
        *(row for row in generation.SAMPLING if row.name == "top_p"),
        *(row for row in generation.VLLM_SAMPLING if row.name == "top_k"),
        replace(generation.METADATA, note="`user_id` and others. Returned in the message and written to the log."),
        ignored("service_tier", "There is one tier."),
        ignored("inference_geo", "The model runs where it runs."),
        *refused_extras.constraints("output_config.format"),
        *refused_extras.MESSAGES,
    ),
    rules=(check_tool_choice, check_thinking_budget),
)
COUNT_TABLE = Table(rows=PROMPT, rules=(check_tool_choice,))


def engine_body(parameters: dict[str, Any], model_id: str) -> bytes:
    """The engine's body, which has one name for the output's format, no empty turns and no choice among no tools."""
    body = parameters | {"model": model_id, "messages": readable(parameters["messages"])}
    if "tools" not in body:
        body.pop("tool_choice", None)
    if "output_format" in body:
        body["output_config"] = {"format": body.pop("output_format")} | body.get("output_config", {})
    return orjson.dumps(body)


def failure_event(exchange: Exchange, error: ApiError, _first: bytes, _events: int) -> bytes:
    """An event of the type `error` with Anthropic's envelope."""
    return sse.event(ANTHROPIC.envelope(error, exchange.request_id), "error")


_TEXT = record({"type": const("text"), "text": STRING})
_THINKING = record({"type": const("thinking"), "thinking": STRING, "signature": STRING})
_TOOL_USE = record({"type": const("tool_use"), "id": STRING, "name": STRING, "input": OBJECT})
_BLOCK = {"anyOf": [_TEXT, _THINKING, _TOOL_USE]}
_USAGE = record(
    dict.fromkeys(("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"), INTEGER)
)
_STOP = {
    "stop_reason": nullable(one_of(("end_turn", "max_tokens", "stop_sequence", "tool_use"))),
    "stop_sequence": nullable(STRING),
}
_FIELDS = {
    "id": STRING, "type": const("message"), "role": const("assistant"), "model": STRING, "content": array(_BLOCK),
    "usage": _USAGE, **_STOP,
}  # fmt: skip
_MESSAGE = Component("Message", record(_FIELDS, {"metadata": OBJECT}))
_EVENTS = ("start", "delta", "stop")
_EVENT = {
    "message": _MESSAGE.ref,
    "index": INTEGER,
    "content_block": _BLOCK,
    "delta": {"anyOf": [record({"type": STRING}), record(_STOP)]},
    "usage": _USAGE,
}

MESSAGES = Endpoint(
    path=MESSAGES_ROUTE,
    style=ANTHROPIC,
    summary="Create message",
    answer="A message, of Anthropic's API. With `stream`: its events as server-sent events, `message_stop` the last.",
    content={
        "application/json": _MESSAGE,
        EVENT_STREAM: Component(
            "MessageStreamEvent",
            record({"type": one_of(f"{of}_{name}" for of in ("message", "content_block") for name in _EVENTS)}, _EVENT),
        ),
    },
    table=TABLE,
    example={"max_tokens": 100, "messages": [{"role": "user", "content": "Hello!"}]},
    counted=CountedFields(("messages", "system", "tools"), ("max_tokens",), frozenset({"source"})),
    engine_body=engine_body,
    media_bytes=lambda request: media_bytes(request.get("messages")),
    images=images,
    echoed=("metadata",),
    failure_event=failure_event,
)
COUNT_TOKENS = Endpoint(
    path=COUNT_TOKENS_ROUTE,
    style=ANTHROPIC,
    summary="Count tokens of message",
    answer="The tokens of the prompt that such a message would have. Nothing is generated, and no tokens are charged.",
    content={"application/json": Component("MessageTokensCount", record({"input_tokens": INTEGER}))},
    table=COUNT_TABLE,
    example={"messages": [{"role": "user", "content": "Hello!"}]},
    counted=CountedFields(()),
    engine_body=engine_body,
    media_bytes=lambda request: media_bytes(request.get("messages")),
    images=images,
)
