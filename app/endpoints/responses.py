"""POST /v1/responses."""

import time
from dataclasses import replace
from typing import Any

import orjson

from app.budgets.estimate import CountedFields
from app.endpoints.answers import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    Component,
    array,
    const,
    nullable,
    one_of,
    record,
)
from app.endpoints.custom_tools import RESPONSES_TOOLS, called_by_response, response_calls, shown
from app.endpoints.endpoint import Endpoint, Exchange
from app.parameters import generation, refused_extras
from app.parameters.generation import EFFORTS, TOKEN_LIMIT, VERBOSITIES, VLLM
from app.parameters.input_items import Input, images
from app.parameters.kinds import Fields, Fixed, Flag, Items, Number, OneOf, Text
from app.parameters.media import media_bytes
from app.parameters.parts import MEDIA_FIELDS
from app.parameters.row import MODEL, STREAM, USER, Parameter, Table, Treatment, refused
from app.parameters.tools import ResponseFormat, Tools
from contract import sse
from contract.errors import ApiError
from contract.protocol import EVENT_STREAM, RESPONSES_ROUTE
from contract.responses import NO_USAGE

NOTHING_STORED = "responses are not stored; send the whole conversation in `input`."
TEXT = Fields(
    {"format": ResponseFormat(nested=False), "verbosity": OneOf(VERBOSITIES)}, features={"verbosity": "verbosity"}
)
REASONING = Fields({"effort": OneOf(EFFORTS), "summary": OneOf(("auto", "concise", "detailed"))})
BACKGROUND = Fixed(Flag(), False, "responses are not stored.")
INCLUDABLE = ("message.output_text.logprobs", "reasoning.encrypted_content")

TABLE = Table(
    rows=(
        MODEL,
        Parameter(
            "input", Input(), "Input to the model: text or items of a conversation.", required=True, capability="chat"
        ),
        Parameter("instructions", Text(), "A system message before the input."),
        STREAM,
        Parameter(
            "stream_options", generation.STREAM_OPTIONS, "Without effect: usage is always reported.", Treatment.ACCEPT
        ),
        Parameter(
            "max_output_tokens",
            TOKEN_LIMIT,
            "Maximum number of tokens to generate, reasoning included. Default: what the context leaves.",
        ),
        *generation.SAMPLING,
        Parameter(
            "top_logprobs",
            Number(0, "max_logprobs", integer=True),
            "Number of most likely tokens to return at each position.",
        ),
        Parameter("include", Items(OneOf(INCLUDABLE), 0, 8), "Additional output data to include."),
        Parameter("text", TEXT, "Format and verbosity of the output text."),
        Parameter(
            "tools",
            Tools(nested=False),
            "Tools that the model may call.",
            capability="tools",
            absent=([],),
        ),
        Parameter(
            "tool_choice", RESPONSES_TOOLS, "Which tool the model calls, if any.", capability="tools", absent=("auto",)
        ),
        generation.PARALLEL_TOOL_CALLS,
        Parameter("max_tool_calls", Number(1, integer=True), "Without effect: it limits hosted tools."),
        Parameter("reasoning", REASONING, "Effort on reasoning.", feature="reasoning_effort"),
        Parameter(
            "truncation",
            OneOf(("disabled", "auto")),
            "Whether to drop the beginning of an input that exceeds the context.",
        ),
        generation.METADATA,
        USER,
        generation.SAFETY_IDENTIFIER,
        generation.PROMPT_CACHE_KEY,
        Parameter("background", BACKGROUND, "Background responses are not supported.", Treatment.ACCEPT),
        # What vLLM has beyond OpenAI.
        *(replace(row, engines=VLLM) for row in generation.CHAT_SAMPLING),
        *generation.VLLM_SAMPLING,
        *generation.VLLM_MESSAGES,
        *generation.UNSUPPORTED,
        refused("previous_response_id", NOTHING_STORED),
        refused("conversation", NOTHING_STORED),
        refused("prompt", "prompts are not stored; send `instructions` and `input`."),
        *refused_extras.constraints("text.format"),
        *refused_extras.RESPONSES,
        *refused_extras.OPERATOR_S,
    ),
    rules=(generation.need_stream, RESPONSES_TOOLS.check, RESPONSES_TOOLS.drop_formats),
)


def engine_body(parameters: dict[str, Any], model_id: str) -> bytes:
    """The engine's body."""
    return orjson.dumps(body_of(parameters, model_id))


def body_of(parameters: dict[str, Any], model_id: str) -> dict[str, Any]:
    """What the engine gets, which stores nothing."""
    body = called_by_response(parameters) | {"model": model_id, "store": False}
    if verbosity := body.get("text", {}).get("verbosity"):  # the chat template reads it as a variable
        body["chat_template_kwargs"] = body.get("chat_template_kwargs", {}) | {"verbosity": verbosity}
    return body


def failure_event(exchange: Exchange, error: ApiError, first: bytes, events: int) -> bytes:
    """`response.failed`, with the Response of the stream's first event; where there was none, with the request's."""
    began = orjson.loads(first.partition(b"data: ")[2].partition(sse.EVENT_END)[0])["response"] if first else None
    failure = {"status": "failed", "error": {"code": "server_error", "message": error.message}}
    response = (began or _response(exchange)) | failure
    return sse.event({"type": "response.failed", "sequence_number": events, "response": response}, "response.failed")


# A Response of which nothing is known but the request.
NOTHING_GENERATED: dict[str, Any] = {
    "object": "response", "completed_at": None, "incomplete_details": None, "output": [], "usage": NO_USAGE,
    "previous_response_id": None, "store": False, "background": False, "service_tier": "default",
    "instructions": None, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "max_tool_calls": None,
    "text": {"format": {"type": "text"}}, "reasoning": {"effort": None, "summary": None}, "truncation": "disabled",
    "temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "top_logprobs": 0,
    "max_output_tokens": None, "metadata": {}, "safety_identifier": None, "prompt_cache_key": None,
}  # fmt: skip


def _response(exchange: Exchange) -> dict[str, Any]:
    """The Response of a request before anything was generated."""
    given = exchange.adjusted.engine | exchange.adjusted.accepted
    response: dict[str, Any] = {
        "id": f"resp_{exchange.request_id}",
        "created_at": int(time.time()),
        "model": exchange.model_id,
    }
    for name, default in NOTHING_GENERATED.items():
        value = given.get(name, default)
        response[name] = default | value if isinstance(default, dict) else value
    response["tools"] = list(map(shown, response["tools"]))
    return response


_OUTPUT_TEXT = record(
    {"type": const("output_text"), "text": STRING}, {"annotations": array(OBJECT), "logprobs": array(OBJECT)}
)
_REFUSAL = record({"type": const("refusal"), "refusal": STRING})
_STATUS = one_of(("in_progress", "completed", "incomplete"))
_MESSAGE = {
    "type": const("message"), "id": STRING, "role": const("assistant"), "status": _STATUS,
    "content": array({"anyOf": [_OUTPUT_TEXT, _REFUSAL]}),
}  # fmt: skip
_CALL = {"type": const("function_call"), "call_id": STRING, "name": STRING, "arguments": STRING}
_CUSTOM_CALL = {"type": const("custom_tool_call"), "call_id": STRING, "name": STRING, "input": STRING}
_TEXTS = array(record({"type": STRING, "text": STRING}))
_REASONING = {"type": const("reasoning"), "id": STRING, "summary": _TEXTS}
_IDENTITY = {"id": nullable(STRING), "status": nullable(_STATUS)}
_ITEM = {
    "anyOf": [
        record(_MESSAGE),
        record(_CALL, _IDENTITY),
        record(_CUSTOM_CALL, _IDENTITY),
        record(_REASONING, _IDENTITY | {"content": nullable(_TEXTS)}),
    ]
}
_USAGE = {
    "input_tokens": INTEGER, "input_tokens_details": record({"cached_tokens": INTEGER}),
    "output_tokens": INTEGER, "output_tokens_details": record({"reasoning_tokens": INTEGER}),
    "total_tokens": INTEGER,
}  # fmt: skip
_FIELDS = {
    "object": const("response"), "id": STRING, "model": STRING, "created_at": INTEGER,
    "completed_at": nullable(INTEGER), "status": one_of(("in_progress", "completed", "incomplete", "failed")),
    "error": nullable(record({"code": STRING, "message": STRING})), "incomplete_details": nullable(OBJECT),
    "output": array(_ITEM), "usage": record(_USAGE), "text": OBJECT, "reasoning": nullable(OBJECT),
    "tools": array(record({"type": STRING})), "tool_choice": {"anyOf": [STRING, OBJECT]},
    "metadata": {"type": "object", "additionalProperties": STRING}, "service_tier": STRING,
    **dict.fromkeys(("store", "background", "parallel_tool_calls"), BOOLEAN),
    **dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty"), nullable(NUMBER)),
    **dict.fromkeys(("top_logprobs", "max_output_tokens", "max_tool_calls"), nullable(INTEGER)),
    **dict.fromkeys(("instructions", "previous_response_id", "truncation"), nullable(STRING)),
    **dict.fromkeys(("safety_identifier", "prompt_cache_key"), nullable(STRING)),
}  # fmt: skip
_RESPONSE = Component("Response", record(_FIELDS))

_EVENT = {
    "response": _RESPONSE.ref, "item": _ITEM, "part": record({"type": STRING}),
    **dict.fromkeys(("item_id", "delta", "text", "arguments", "input"), STRING),
    **dict.fromkeys(("output_index", "content_index"), INTEGER),
}  # fmt: skip

RESPONSES = Endpoint(
    path=RESPONSES_ROUTE,
    summary="Create response",
    answer="A response. With `stream`: its events as server-sent events, and `[DONE]` as the last.",
    content={
        "application/json": _RESPONSE,
        EVENT_STREAM: Component("ResponseStreamEvent", record({"type": STRING, "sequence_number": INTEGER}, _EVENT)),
    },
    table=TABLE,
    example={"input": "Hello!"},
    counted=CountedFields(("input", "instructions", "tools"), ("max_output_tokens",), MEDIA_FIELDS),
    engine_body=engine_body,
    media_bytes=lambda request: media_bytes(request.get("input")),
    images=images,
    echoed=("metadata", "safety_identifier", "prompt_cache_key"),
    custom_calls=response_calls,
    failure_event=failure_event,
)
