"""POST /v1/responses."""

import time
from dataclasses import dataclass, replace
from typing import Any, ClassVar

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
from app.endpoints.endpoint import Endpoint, Exchange
from app.parameters import generation
from app.parameters.generation import EFFORTS, TOKEN_LIMIT, VERBOSITIES, VLLM
from app.parameters.input_items import Input, images
from app.parameters.kinds import UNKNOWN, Flag, Items, Number, OneOf, Reading, Text, wrong_type
from app.parameters.parts import MEDIA_FIELDS
from app.parameters.row import MODEL, STREAM, USER, Parameter, Table, Treatment, refused
from app.parameters.tools import ResponseFormat, ToolChoice, Tools
from contract import sse
from contract.errors import ApiError
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, RESPONSES_ROUTE

TOOL_CHOICE = ToolChoice(nested=False)
FORMAT = ResponseFormat(nested=False)
NOTHING_STORED = "responses are not stored; send the whole conversation in `input`."
SUMMARIES = ("auto", "concise", "detailed")
INCLUDABLE = ("message.output_text.logprobs", "reasoning.encrypted_content")


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The format of the output, and its verbosity where the chat template reads that."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, dict):
            raise wrong_type(name, self.description())
        kept: dict[str, Any] = {}
        if value.get("format") is not None:
            kept["format"] = FORMAT.read(value["format"], f"{name}.format", profile).value
        dropped = [(field, UNKNOWN) for field in value if field not in ("format", "verbosity")]
        if value.get("verbosity") is not None:
            verbosity = OneOf(VERBOSITIES).read(value["verbosity"], f"{name}.verbosity", profile).value
            if "verbosity" in profile.lacks:
                dropped.append(("verbosity", profile.lacks["verbosity"]))
            else:
                kept["verbosity"] = verbosity
        return Reading(kept, dropped=tuple(dropped))

    def description(self) -> str:
        return "an object with `format`"

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "properties": {"format": FORMAT.schema(), "verbosity": {"enum": list(VERBOSITIES)}}}


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The effort on reasoning, and the summary of it."""

    fields: ClassVar[dict[str, tuple[str, ...]]] = {"effort": EFFORTS, "summary": SUMMARIES}

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, dict):
            raise wrong_type(name, self.description())
        kept: dict[str, Any] = {}
        for field, choices in self.fields.items():
            if value.get(field) is not None:
                kept[field] = OneOf(choices).read(value[field], f"{name}.{field}", profile).value
        return Reading(kept, dropped=tuple((field, UNKNOWN) for field in value if field not in self.fields))

    def description(self) -> str:
        return "an object with `effort`"

    def schema(self) -> dict[str, Any]:
        properties = {field: {"enum": list(choices)} for field, choices in self.fields.items()}
        return {"type": "object", "properties": properties}


@dataclass(frozen=True, slots=True)
class Never:
    """A flag that can only be false here."""

    why: str

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if Flag().read(value, name, profile).value:
            raise ApiError("unsupported_parameter", f"`{name}` is not supported: {self.why}", param=name)
        return Reading(value)

    def description(self) -> str:
        return "false"

    def schema(self) -> dict[str, Any]:
        return {"const": False}


TABLE = Table(
    rows=(
        MODEL,
        Parameter(
            "input", Input(), "Input to the model: text, or the items of a conversation.", required=True,
            capability="chat",
        ),
        Parameter("instructions", Text(), "A system message before the input."),
        STREAM,
        Parameter(
            "stream_options",
            generation.StreamOptions(),
            "Without effect: a stream always reports its usage.",
            Treatment.ACCEPT,
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
        Parameter("text", TextConfig(), "Format and verbosity of the output text."),
        Parameter(
            "tools", Tools(nested=False), "Functions that the model may call.", capability="tools", absent=([],)
        ),
        Parameter(
            "tool_choice", TOOL_CHOICE, "Which tool the model calls, if any.", capability="tools", absent=("auto",)
        ),
        generation.PARALLEL_TOOL_CALLS,
        Parameter("max_tool_calls", Number(1, integer=True), "Without effect: it limits hosted tools."),
        Parameter("reasoning", Reasoning(), "Effort on reasoning.", feature="reasoning_effort"),
        Parameter(
            "truncation",
            OneOf(("disabled", "auto")),
            "Whether to drop the beginning of an input that exceeds the context.",
        ),
        generation.METADATA,
        USER,
        generation.SAFETY_IDENTIFIER,
        generation.PROMPT_CACHE_KEY,
        Parameter("background", Never("background responses need a store."), "False.", Treatment.ACCEPT),
        # What vLLM has beyond OpenAI.
        *(replace(row, engines=VLLM) for row in generation.CHAT_SAMPLING),
        *generation.VLLM_SAMPLING,
        *generation.UNSUPPORTED,
        refused("previous_response_id", NOTHING_STORED),
        refused("conversation", NOTHING_STORED),
        refused("prompt", "prompts are not stored; send `instructions` and `input`."),
    ),
    rules=(generation.need_stream, TOOL_CHOICE.check),
)  # fmt: skip


def engine_body(parameters: dict[str, Any], model_id: str) -> bytes:
    """The engine's body, which stores nothing."""
    body = parameters | {"model": model_id, "store": False}
    if verbosity := body.get("text", {}).get("verbosity"):  # the chat template reads it as a variable
        body["chat_template_kwargs"] = body.get("chat_template_kwargs", {}) | {"verbosity": verbosity}
    return orjson.dumps(body)


def failure_event(exchange: Exchange, error: ApiError, first: bytes, events: int) -> bytes:
    """`response.failed`, with the Response of the stream's first event; where there was none, with the request's."""
    began = orjson.loads(first.partition(b"data: ")[2].partition(sse.EVENT_END)[0])["response"] if first else None
    failure = {"status": "failed", "error": {"code": "server_error", "message": error.message}}
    response = (began or _response(exchange)) | failure
    return sse.event({"type": "response.failed", "sequence_number": events, "response": response}, "response.failed")


# A Response of which nothing is known but the request.
NOTHING_GENERATED: dict[str, Any] = {
    "object": "response",
    "completed_at": None,
    "incomplete_details": None,
    "previous_response_id": None,
    "instructions": None,
    "output": [],
    "tools": [],
    "tool_choice": "auto",
    "truncation": "disabled",
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "temperature": 1.0,
    "reasoning": {"effort": None, "summary": None},
    "usage": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "store": False,
    "background": False,
    "service_tier": "default",
    "metadata": {},
    "safety_identifier": None,
    "prompt_cache_key": None,
}
NO_TOOL = {"description": None, "parameters": None, "strict": None}


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
    response["tools"] = [NO_TOOL | tool for tool in response["tools"]]
    return response


_TEXT = record(
    {"type": const("output_text"), "text": STRING}, {"annotations": array(OBJECT), "logprobs": array(OBJECT)}
)
_REFUSAL = record({"type": const("refusal"), "refusal": STRING})
_STATUS = one_of(("in_progress", "completed", "incomplete"))
_SUMMARY = array(record({"type": STRING, "text": STRING}))
_ITEM = {
    "anyOf": [
        record(
            {
                "type": const("message"),
                "id": STRING,
                "role": const("assistant"),
                "status": _STATUS,
                "content": array({"anyOf": [_TEXT, _REFUSAL]}),
            }
        ),
        record(
            {"type": const("function_call"), "call_id": STRING, "name": STRING, "arguments": STRING},
            {"id": nullable(STRING), "status": nullable(_STATUS)},
        ),
        record(
            {"type": const("reasoning"), "id": STRING, "summary": _SUMMARY},
            {"content": nullable(_SUMMARY), "status": nullable(_STATUS)},
        ),
    ]
}
_PROPERTIES = {
    "id": STRING,
    "object": const("response"),
    "created_at": NUMBER,
    "completed_at": nullable(NUMBER),
    "status": one_of(("queued", "in_progress", "completed", "incomplete", "failed", "cancelled")),
    "error": nullable(record({"code": STRING, "message": STRING})),
    "incomplete_details": nullable(OBJECT),
    "model": STRING,
    "previous_response_id": nullable(STRING),
    "instructions": nullable({"anyOf": [STRING, array(OBJECT)]}),
    "output": array(_ITEM),
    "tools": array(record({"type": STRING})),
    "tool_choice": {"anyOf": [STRING, OBJECT]},
    "truncation": nullable(STRING),
    "parallel_tool_calls": BOOLEAN,
    "text": OBJECT,
    "top_p": nullable(NUMBER),
    "presence_penalty": nullable(NUMBER),
    "frequency_penalty": nullable(NUMBER),
    "top_logprobs": nullable(INTEGER),
    "temperature": nullable(NUMBER),
    "reasoning": nullable(OBJECT),
    "usage": nullable(
        record(
            {
                "input_tokens": INTEGER,
                "input_tokens_details": record({"cached_tokens": INTEGER}),
                "output_tokens": INTEGER,
                "output_tokens_details": record({"reasoning_tokens": INTEGER}),
                "total_tokens": INTEGER,
            }
        )
    ),
    "max_output_tokens": nullable(INTEGER),
    "max_tool_calls": nullable(INTEGER),
    "store": BOOLEAN,
    "background": BOOLEAN,
    "service_tier": STRING,
    "metadata": nullable({"type": "object", "additionalProperties": STRING}),
    "safety_identifier": nullable(STRING),
    "prompt_cache_key": nullable(STRING),
}
_RESPONSE = Component("Response", record(_PROPERTIES))

RESPONSES = Endpoint(
    path=RESPONSES_ROUTE,
    summary="Create response",
    answer="A response. With `stream`: its events as server-sent events, and `[DONE]` as the last.",
    content={
        "application/json": _RESPONSE,
        EVENT_STREAM: Component(
            "ResponseStreamEvent",
            record(
                {"type": {"type": "string", "pattern": "^response[.]"}, "sequence_number": INTEGER},
                {
                    "response": _RESPONSE.ref,
                    "output_index": INTEGER,
                    "content_index": INTEGER,
                    "item_id": STRING,
                    "item": _ITEM,
                    "part": record({"type": STRING}),
                    "delta": STRING,
                    "text": STRING,
                    "arguments": STRING,
                },
            ),
        ),
    },
    table=TABLE,
    example={"input": "Hello!"},
    counted=CountedFields(("input", "instructions", "tools"), ("max_output_tokens",), MEDIA_FIELDS),
    engine_body=engine_body,
    images=images,
    echoed=("metadata", "safety_identifier", "prompt_cache_key"),
    failure_event=failure_event,
)
