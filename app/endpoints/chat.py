"""POST /v1/chat/completions."""

from collections.abc import Iterable
from typing import Any

import orjson

from app.budgets.estimate import CountedFields
from app.endpoints.answers import INTEGER, NUMBER, OBJECT, STRING, Component, array, const, nullable, one_of, record
from app.endpoints.custom_tools import CHAT_TOOLS, called_as_functions, chat_calls
from app.endpoints.endpoint import Endpoint, Exchange
from app.parameters import generation, refused_extras
from app.parameters.generation import EFFORTS, TOKEN_LIMIT, VERBOSITIES
from app.parameters.kinds import Fixed, Flag, Items, Number, OneOf, Text
from app.parameters.media import media_bytes
from app.parameters.messages import Messages, audio, check_tool_results, images
from app.parameters.parts import MEDIA_FIELDS
from app.parameters.row import MODEL, STREAM, USER, Parameter, Table, Treatment, ignored, refused
from app.parameters.tools import ResponseFormat, Tools
from contract import sse
from contract.errors import ApiError
from contract.profile import Profile
from contract.protocol import CHAT_ROUTE, EVENT_STREAM

MAX_CHOICES = 128
MODALITIES = Fixed(Items(Text(), 0, 8), ["text"], "for audio use /v1/audio/speech.")


def check_dependencies(legal: dict[str, Any], _: Profile) -> Iterable[tuple[str, float, float]]:
    """Parameters that mean something only beside another."""
    if legal.get("top_logprobs") and not legal.get("logprobs"):
        raise ApiError("invalid_value", "`top_logprobs` needs `logprobs: true`.", param="top_logprobs")
    limit = legal.get("max_completion_tokens", legal.get("max_tokens"))
    if limit is not None and legal.get("min_tokens", 0) > limit:
        yield "min_tokens", legal["min_tokens"], limit
    if legal.get("n", 1) > 1 and legal.get("temperature") == 0:
        # Greedy choices would all be the same, and the engine refuses them.
        yield "n", legal["n"], 1


TABLE = Table(
    rows=(
        MODEL,
        Parameter("messages", Messages(), "The messages of the conversation.", required=True, capability="chat"),
        STREAM,
        Parameter(
            "stream_options",
            generation.STREAM_OPTIONS,
            "Options of a stream. `include_usage`: send a last chunk with the token usage.",
            Treatment.GATEWAY,
        ),
        Parameter(
            "max_completion_tokens",
            TOKEN_LIMIT,
            "Maximum number of tokens to generate, reasoning included. Default: what the context leaves.",
        ),
        Parameter("max_tokens", TOKEN_LIMIT, "Deprecated name of `max_completion_tokens`."),
        *generation.SAMPLING,
        Parameter(
            "n", Number(1, MAX_CHOICES, integer=True), "Number of choices to generate. 1 where `temperature` is 0."
        ),
        *generation.CHAT_SAMPLING,
        Parameter("logprobs", Flag(), "Whether to return the log probabilities of the output tokens."),
        Parameter(
            "top_logprobs",
            Number(0, "max_logprobs", integer=True),
            "Number of most likely tokens to return at each position. Needs `logprobs`.",
        ),
        Parameter(
            "response_format",
            ResponseFormat(nested=True),
            "Format of the output: text, a JSON object, or JSON that follows a schema.",
        ),
        Parameter("tools", Tools(nested=True), "Tools that the model may call.", capability="tools"),
        Parameter("tool_choice", CHAT_TOOLS, "Which tool the model calls, if any.", capability="tools"),
        generation.PARALLEL_TOOL_CALLS,
        Parameter("reasoning_effort", OneOf(EFFORTS), "Effort on reasoning.", feature="reasoning_effort"),
        Parameter("verbosity", OneOf(VERBOSITIES), "Verbosity of the response.", feature="verbosity"),
        generation.METADATA,
        USER,
        generation.SAFETY_IDENTIFIER,
        generation.PROMPT_CACHE_KEY,
        Parameter("modalities", MODALITIES, "Output types: text.", Treatment.ACCEPT),
        # What vLLM has beyond OpenAI.
        *generation.VLLM_SAMPLING,
        *generation.VLLM_MESSAGES,
        *generation.VLLM_TEXT,
        *generation.UNSUPPORTED,
        ignored("prediction", "Speculative decoding is configured by the operator."),
        refused("audio", "audio has an endpoint of its own, /v1/audio/speech."),
        refused("functions", "use `tools`."),
        refused("function_call", "use `tool_choice`."),
        refused("web_search_options", "hosted tools are not supported; send functions in `tools`."),
        *refused_extras.constraints("response_format"),
        *refused_extras.CHAT,
        *refused_extras.OPERATOR_S,
    ),
    rules=(generation.need_stream, check_dependencies, check_tool_results, CHAT_TOOLS.check, CHAT_TOOLS.drop_formats),
)


def engine_body(parameters: dict[str, Any], model_id: str) -> bytes:
    """The engine's body. A stream always reports its usage there; the client sees it if it wants to."""
    body = called_as_functions(parameters) | {"model": model_id}
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    if "verbosity" in body:  # the engine has no such parameter; the chat template reads it as a variable
        body["chat_template_kwargs"] = body.get("chat_template_kwargs", {}) | {"verbosity": body.pop("verbosity")}
    return orjson.dumps(body)


def failure_event(_exchange: Exchange, error: ApiError, _first: bytes, _events: int) -> bytes:
    """An event without a type that holds the error's envelope."""
    return sse.event(error.envelope())


USAGE = record(
    {"prompt_tokens": INTEGER, "completion_tokens": INTEGER, "total_tokens": INTEGER},
    {"prompt_tokens_details": OBJECT, "completion_tokens_details": OBJECT},
)
_LOGPROB = {"token": STRING, "logprob": NUMBER, "bytes": nullable(array(INTEGER))}
_TOKENS = nullable(array(record(_LOGPROB | {"top_logprobs": array(record(_LOGPROB))})))
_LOGPROBS = nullable(record({"content": _TOKENS, "refusal": _TOKENS}))
_FUNCTION = record({"name": STRING, "arguments": STRING})
_CALLS = (
    record({"id": STRING, "type": const("function"), "function": _FUNCTION}),
    record({"id": STRING, "type": const("custom"), "custom": record({"name": STRING, "input": STRING})}),
)
_MESSAGE = record(
    {"role": const("assistant"), "content": nullable(STRING), "refusal": nullable(STRING)},
    {"reasoning": STRING, "tool_calls": array({"anyOf": list(_CALLS)})},
)
_CALL_DELTA = record(
    {"index": INTEGER},
    {
        "id": STRING,
        "type": one_of(("function", "custom")),
        "function": {"type": "object"},
        "custom": record({"input": STRING}, {"name": STRING}),
    },
)
_DELTA = record(
    {},
    {
        "role": const("assistant"),
        "content": nullable(STRING),
        "refusal": nullable(STRING),
        "reasoning": STRING,
        "tool_calls": array(_CALL_DELTA),
    },
)
_FINISH_REASON = one_of(("stop", "length", "tool_calls", "content_filter"))
_BOTH = {"id": STRING, "created": INTEGER, "model": STRING}
_OPTIONAL = {"system_fingerprint": STRING, "service_tier": STRING, "metadata": OBJECT}
_CHOICE = record({"index": INTEGER, "message": _MESSAGE, "finish_reason": _FINISH_REASON, "logprobs": _LOGPROBS})
_CHUNK_CHOICE = record(
    {"index": INTEGER, "delta": _DELTA, "finish_reason": nullable(_FINISH_REASON)}, {"logprobs": _LOGPROBS}
)

CHAT = Endpoint(
    path=CHAT_ROUTE,
    summary="Create chat completion",
    answer="A chat completion. With `stream`: its chunks as server-sent events, and `[DONE]` as the last.",
    content={
        "application/json": Component(
            "ChatCompletion",
            record(_BOTH | {"object": const("chat.completion"), "choices": array(_CHOICE), "usage": USAGE}, _OPTIONAL),
        ),
        EVENT_STREAM: Component(
            "ChatCompletionChunk",
            record(
                _BOTH | {"object": const("chat.completion.chunk"), "choices": array(_CHUNK_CHOICE)},
                _OPTIONAL | {"usage": USAGE},
            ),
        ),
    },
    table=TABLE,
    example={"messages": [{"role": "user", "content": "Hello!"}]},
    counted=CountedFields(("messages", "tools"), ("max_completion_tokens", "max_tokens"), MEDIA_FIELDS),
    engine_body=engine_body,
    media_bytes=lambda request: media_bytes(request.get("messages")),
    images=images,
    audio=audio,
    echoed=("metadata",),
    include_usage=generation.wants_usage,
    custom_calls=chat_calls,
    failure_event=failure_event,
)
