"""POST /v1/completions: the text that follows a prompt, without messages."""

from collections.abc import Iterable
from typing import Any

import orjson

from app.budgets.estimate import CountedFields
from app.endpoints.answers import INTEGER, NUMBER, OBJECT, STRING, Component, array, const, nullable, one_of, record
from app.endpoints.chat import MAX_CHOICES, USAGE, failure_event
from app.endpoints.endpoint import Endpoint
from app.parameters import generation, refused_extras
from app.parameters.generation import VLLM
from app.parameters.kinds import Flag, Number, Text, wrong_value
from app.parameters.row import MODEL, STREAM, USER, Parameter, Table, Treatment, refused
from app.parameters.texts_or_tokens import MAX_VALUES, TextsOrTokens, how_many, largest_token, size
from app.parameters.tools import ResponseFormat
from contract.errors import ApiError
from contract.profile import Profile
from contract.protocol import COMPLETIONS_ROUTE, EVENT_STREAM, Ranking

MAX_SEQUENCES = MAX_CHOICES  # of all prompts of a request together
DEFAULT_TOKENS = 16  # OpenAI's, and vLLM's
MAX_STOPS = 16  # tasks of lm-evaluation-harness have more than OpenAI's four
MAX_LOGPROBS = 2**19  # that an answer is held whole with, about 50 MB of the engine's JSON
PROMPT = TextsOrTokens(MAX_SEQUENCES)
RANKED = "`best_of` over `n`"


def check_prompts(legal: dict[str, Any], profile: Profile) -> tuple[()]:
    """Token ids are the model's, and what an end is given for is a text."""
    last = profile.limit("last_token_id")
    largest = largest_token(legal["prompt"])
    if last is not None and largest > last:
        raise wrong_value("prompt", f"text, or token ids that the model has: 0 to {last}")
    if legal.get("suffix") and largest >= 0:
        raise ApiError("invalid_value", "`suffix` needs a `prompt` of text, not of token ids.", param="suffix")
    if legal.get("suffix") and legal.get("echo"):
        raise ApiError("invalid_value", "`echo` cannot be used with `suffix`.", param="echo")
    return ()


def check_lengths(legal: dict[str, Any], _: Profile) -> Iterable[tuple[str, float, float]]:
    """No tokens at all are generated where the prompt is all that the client wants."""
    limit = legal.get("max_tokens", DEFAULT_TOKENS)
    if limit == 0 and not legal.get("echo"):
        limit = 1
        yield "max_tokens", 0, limit
    if legal.get("min_tokens", 0) > limit:
        yield "min_tokens", legal["min_tokens"], limit


def check_choices(legal: dict[str, Any], _: Profile) -> Iterable[tuple[str, float, float]]:
    """No more texts at once than of a chat completion; several of a prompt need chance; the best needs comparing.

    The log probabilities of a prompt, which each of its texts would repeat, are returned once.
    """
    most = 1 if legal.get("temperature") == 0 else MAX_SEQUENCES // how_many(legal["prompt"])
    for name, limit in (("n", 1 if scores_prompts(legal) else most), ("best_of", most)):
        if legal.get(name, 1) > limit:
            yield name, legal[name], limit
    choices, candidates = legal.get("n", 1), legal.get("best_of")
    if candidates is None or candidates == choices:
        return
    if candidates < choices:
        raise wrong_value("best_of", "at least `n`")
    for name in ("stream", "echo"):
        if legal.get(name):
            raise ApiError("invalid_value", f"{RANKED} cannot be used with `{name}`.", param="best_of")


def check_logprobs(legal: dict[str, Any], _: Profile) -> tuple[()]:
    """An answer is held whole, and log probabilities make it large: of prompts, and of candidates."""
    prompt, of_a_token = legal["prompt"], legal.get("logprobs", 0) + 1
    if scores_prompts(legal) and size(prompt) * of_a_token > MAX_LOGPROBS:
        message = (
            f"`echo` with `logprobs` may return {MAX_LOGPROBS} log probabilities of all prompts: their tokens, or "
            "the characters of texts, times `logprobs` + 1. Send the prompts in several requests, or lower `logprobs`."
        )
        raise ApiError("too_large", message, param="prompt")
    if ranked := ranking(legal):
        tokens = how_many(prompt) * ranked.candidates * legal.get("max_tokens", DEFAULT_TOKENS)
        if tokens * of_a_token > MAX_LOGPROBS:
            message = (
                f"{RANKED} compares up to {MAX_LOGPROBS} log probabilities: prompts, times `best_of`, `max_tokens` and "
                "`logprobs` + 1. Lower one of these."
            )
            raise ApiError("too_large", message, param="best_of")
    return ()


def scores_prompts(legal: dict[str, Any]) -> bool:
    """Whether the answer says how likely the tokens of the prompts are."""
    return bool(legal.get("echo")) and "logprobs" in legal


TABLE = Table(
    rows=(
        MODEL,
        Parameter("prompt", PROMPT, "Text to continue, or several.", required=True, capability="completions"),
        Parameter(
            "suffix",
            Text(),
            "Text that follows what is generated, on models that fill in the middle.",
            capability="fill_in_the_middle",
            absent=("",),
        ),
        STREAM,
        Parameter(
            "stream_options",
            generation.STREAM_OPTIONS,
            "Options of a stream. `include_usage`: send a last chunk with the token usage.",
            Treatment.GATEWAY,
        ),
        Parameter(
            "max_tokens",
            Number(0, "context_length", integer=True),
            f"Maximum number of tokens to generate. Default: {DEFAULT_TOKENS}. 0 needs `echo`.",
        ),
        *generation.SAMPLING,
        Parameter(
            "n",
            Number(1, MAX_SEQUENCES, integer=True),
            f"Number of texts for each prompt, up to {MAX_SEQUENCES} in all. 1 where `temperature` is 0, and with "
            "`echo` and `logprobs`.",
        ),
        Parameter(
            "best_of",
            Number(1, MAX_SEQUENCES, integer=True),
            "Generate so many for each prompt and return the `n` whose tokens are the likeliest on average. Over `n`, "
            f"prompts, times `best_of`, `max_tokens` and `logprobs` + 1, may be {MAX_LOGPROBS}.",
        ),
        *(row for row in generation.CHAT_SAMPLING if row.name != "stop"),
        generation.stop_sequences(MAX_STOPS),
        Parameter("echo", Flag(), "Whether to return the prompt before the text."),
        Parameter(
            "logprobs",
            Number(0, "max_logprobs", integer=True),
            "Number of most likely tokens to return at each position, beside the token itself. With `echo` also of the "
            f"prompts, whose tokens, or characters, times `logprobs` + 1 may be {MAX_LOGPROBS}.",
        ),
        Parameter(
            "response_format",
            ResponseFormat(nested=True),
            "Format of the text: any, a JSON object, or JSON that follows a schema.",
            engines=VLLM,
        ),
        generation.METADATA,
        USER,
        generation.SAFETY_IDENTIFIER,
        generation.PROMPT_CACHE_KEY,
        # What vLLM has beyond OpenAI.
        *generation.VLLM_SAMPLING,
        *generation.VLLM_TEXT,
        Parameter(
            "add_special_tokens",
            Flag(),
            "Whether special tokens, such as that of the beginning, are added to a prompt of text. Default: true.",
            engines=VLLM,
        ),
        *(row for row in generation.UNSUPPORTED if row.name != "chat_template"),
        refused("chat_template", "a prompt is taken as it stands."),
        *refused_extras.constraints("response_format"),
        *refused_extras.COMPLETIONS,
        *refused_extras.OPERATOR_S,
    ),
    rules=(generation.need_stream, check_prompts, check_lengths, check_choices, check_logprobs),
)


def ranking(parameters: dict[str, Any]) -> Ranking | None:
    """Which of the candidates the replica keeps, where `best_of` asks for more than `n`."""
    candidates, kept = parameters.get("best_of", 1), parameters.get("n", 1)
    return Ranking(candidates, kept, "logprobs" in parameters) if candidates > kept else None


def engine_body(parameters: dict[str, Any], model_id: str) -> bytes:
    """The engine's body. It knows no `best_of`: it generates all of them, and its replica keeps the best."""
    body = parameters | {"model": model_id}
    if ranked := ranking(parameters):
        body |= {"n": ranked.candidates, "logprobs": body.get("logprobs", 0)}
    body.pop("best_of", None)
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    return orjson.dumps(body)


_LOGPROBS = nullable(
    record(
        {
            "text_offset": array(INTEGER),
            "token_logprobs": array(nullable(NUMBER)),
            "tokens": array(STRING),
            "top_logprobs": array(nullable({"type": "object", "additionalProperties": NUMBER})),
        }
    )
)
_FINISH_REASON = one_of(("stop", "length", "content_filter"))
_FIELDS = {"id": STRING, "object": const("text_completion"), "created": INTEGER, "model": STRING}
_OPTIONAL = {"system_fingerprint": STRING, "metadata": OBJECT}
_CHOICE = {"index": INTEGER, "text": STRING, "logprobs": _LOGPROBS}

COMPLETIONS = Endpoint(
    path=COMPLETIONS_ROUTE,
    summary="Create completion",
    answer="A completion. With `stream`: its chunks as server-sent events, and `[DONE]` as the last.",
    content={
        "application/json": Component(
            "Completion",
            record(
                _FIELDS | {"choices": array(record(_CHOICE | {"finish_reason": _FINISH_REASON})), "usage": USAGE},
                _OPTIONAL,
            ),
        ),
        EVENT_STREAM: Component(
            "CompletionChunk",
            record(
                _FIELDS | {"choices": array(record(_CHOICE | {"finish_reason": nullable(_FINISH_REASON)}))},
                _OPTIONAL | {"usage": USAGE},
            ),
        ),
    },
    table=TABLE,
    example={"prompt": "Once upon a time"},
    counted=CountedFields(
        ("suffix",), ("max_tokens",), several="prompt", choices=("n", "best_of"), default_limit=DEFAULT_TOKENS
    ),
    max_values=MAX_VALUES,
    engine_body=engine_body,
    echoed=("metadata",),
    include_usage=generation.wants_usage,
    ranking=ranking,
    failure_event=failure_event,
)
