"""The parameters of POST /v1/chat/completions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.parameters.kinds import (
    UNKNOWN,
    Choice,
    Flag,
    Items,
    Metadata,
    Number,
    Reading,
    Text,
    wrong_type,
    wrong_value,
)
from app.parameters.messages import Messages, check_tool_results
from app.parameters.row import Parameter, Table, Treatment, ignored, refused
from app.parameters.tools import Format, ToolChoice, Tools
from contract.adjustments import Changed
from contract.errors import ApiError
from contract.profile import Profile

MAX_CHOICES = 128
MAX_STOPS = 4
MAX_BIASES = 1024
SMALLEST_TOP_P = 0.000001  # zero is not legal: no token would be left
INT64 = 2**63
VLLM = ("vllm",)
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
VERBOSITIES = ("low", "medium", "high")

TOOL_CHOICE = ToolChoice(nested=True)
TOKEN_LIMIT = Number(1, "context_length", integer=True)
TOKEN_ID = Number(0, "last_token_id", integer=True)


@dataclass(frozen=True, slots=True)
class LogitBias:
    """Token ids of the model's vocabulary -> a bias from -100 to 100; a bias beyond is clamped."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, dict):
            raise wrong_type(name, self.description())
        if len(value) > MAX_BIASES:
            raise wrong_value(name, self.description())
        kept: dict[str, float] = {}
        clamped: tuple[Changed, Changed] | None = None
        for token, bias in value.items():
            if not token.isdecimal() or not token.isascii() or TOKEN_ID.read(int(token[:12]), name, profile).clamped:
                raise wrong_value(name, self.description())
            reading = Number(-100, 100).read(bias, name, profile)
            kept[token], clamped = reading.value, clamped or reading.clamped
        return Reading(kept, clamped)

    def description(self) -> str:
        return f"an object of up to {MAX_BIASES} token ids of the model, each with a bias from -100 to 100"

    def schema(self) -> dict[str, Any]:
        bias = {"type": "number", "minimum": -100, "maximum": 100}
        return {"type": "object", "maxProperties": MAX_BIASES, "additionalProperties": bias}


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a stream tells beside its text."""

    options: tuple[str, ...] = ("include_usage", "include_obfuscation")

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, dict):
            raise wrong_type(name, self.description())
        for option in self.options:
            if value.get(option) is not None:
                Flag().read(value[option], f"{name}.{option}", profile)
        unknown = tuple((option, UNKNOWN) for option in value if option not in self.options)
        return Reading({"include_usage": bool(value.get("include_usage"))}, dropped=unknown)

    def description(self) -> str:
        return "an object with `include_usage` true or false"

    def schema(self) -> dict[str, Any]:
        flags = {"include_usage": {"type": "boolean"}, "include_obfuscation": {"type": "boolean"}}
        return {"type": "object", "properties": flags}


@dataclass(frozen=True, slots=True)
class Modalities:
    """Text only: speech has a route of its own."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:  # noqa: ARG002 - the interface of all kinds
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if value != ["text"]:
            raise ApiError(
                "unsupported_parameter", f'`{name}` may be ["text"] only. For speech use /v1/audio/speech.', param=name
            )
        return Reading(value)

    def description(self) -> str:
        return 'the array ["text"]'

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"const": "text"}}


@dataclass(frozen=True, slots=True)
class TemplateKwargs:
    """Variables of the chat template that the model's configuration lets clients set."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, dict):
            raise wrong_type(name, self.description())
        for variable in value:
            if variable not in profile.template_kwargs:
                allowed = ", ".join(sorted(profile.template_kwargs)) or "none"
                raise ApiError(
                    "unsupported_parameter", f"`{name}` may set these for this model: {allowed}.", param=name
                )
        return Reading(value)

    def description(self) -> str:
        return "an object of the template's variables that this model lets clients set"

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


def check_dependencies(kept: dict[str, Any], _: Profile) -> Iterable[tuple[str, float, float]]:
    """Parameters that mean something only beside another."""
    if "stream_options" in kept and not kept.get("stream"):
        raise ApiError("invalid_value", "`stream_options` needs `stream: true`.", param="stream_options")
    if kept.get("top_logprobs") and not kept.get("logprobs"):
        raise ApiError("invalid_value", "`top_logprobs` needs `logprobs: true`.", param="top_logprobs")
    limit = kept.get("max_completion_tokens", kept.get("max_tokens"))
    if limit is not None and kept.get("min_tokens", 0) > limit:
        yield "min_tokens", kept["min_tokens"], limit
    if kept.get("n", 1) > 1 and kept.get("temperature") == 0:
        # Greedy choices would all be the same, and the engine refuses them.
        yield "n", kept["n"], 1


CHAT = Table(
    rows=(
        Parameter("model", Text(), "The id of a model. May be left out under /v1/{pipeline}/.", Treatment.GATEWAY),
        Parameter("messages", Messages(), "The conversation so far.", required=True, capability="chat"),
        Parameter("stream", Flag(), "Send the answer as server-sent events while it is made."),
        Parameter(
            "stream_options", StreamOptions(), "`include_usage`: a last event with the usage.", Treatment.GATEWAY
        ),
        Parameter("max_completion_tokens", TOKEN_LIMIT, "The most tokens to make. Default: what the context leaves."),
        Parameter("max_tokens", TOKEN_LIMIT, "The older name of `max_completion_tokens`."),
        Parameter("temperature", Number(0.0, 2.0), "Randomness; 0 takes the likeliest token."),
        Parameter("top_p", Number(SMALLEST_TOP_P, 1.0), "Sample from the likeliest tokens of this total probability."),
        Parameter("n", Number(1, MAX_CHOICES, integer=True), "How many answers; 1 where `temperature` is 0."),
        Parameter("stop", Items(Text(1), 0, MAX_STOPS, single=True), "Texts that end the answer; not part of it."),
        Parameter("seed", Number(-INT64, INT64 - 1, integer=True), "The same seed gives the same answer."),
        Parameter("presence_penalty", Number(-2.0, 2.0), "Against tokens that have appeared."),
        Parameter("frequency_penalty", Number(-2.0, 2.0), "Against tokens, the more the more often they appeared."),
        Parameter("logit_bias", LogitBias(), "Adds to the logits of single tokens.", feature="logit_bias"),
        Parameter("logprobs", Flag(), "Tell the log-probability of each token."),
        Parameter(
            "top_logprobs", Number(0, "max_logprobs", integer=True), "And of that many rivals. Needs `logprobs`."
        ),
        Parameter("response_format", Format(nested=True), "Text, a JSON object, or JSON that fits a schema."),
        Parameter("tools", Tools(nested=True), "Functions that the model may call.", capability="tools"),
        Parameter("tool_choice", TOOL_CHOICE, "Whether and which tool is called.", capability="tools"),
        Parameter("parallel_tool_calls", Flag(), "Whether one answer may call several tools."),
        Parameter(
            "reasoning_effort",
            Choice(EFFORTS),
            "How long to think.",
            feature="reasoning_effort",
        ),
        Parameter("verbosity", Choice(VERBOSITIES), "How much to say.", feature="verbosity"),
        Parameter("metadata", Metadata(), "Echoed in the answer and written to the log.", Treatment.ACCEPT),
        Parameter("user", Text(), "Written to the log.", Treatment.ACCEPT),
        Parameter("safety_identifier", Text(), "Written to the log.", Treatment.ACCEPT),
        Parameter("prompt_cache_key", Text(), "Without effect: prefixes are cached by content.", Treatment.ACCEPT),
        Parameter("modalities", Modalities(), "Text.", Treatment.ACCEPT),
        # What vLLM has beyond OpenAI.
        Parameter("top_k", Number(-1, "vocabulary_size", integer=True), "Sample from that many tokens.", engines=VLLM),
        Parameter(
            "min_p", Number(0.0, 1.0), "Leave out tokens less likely than this share of the likeliest.",
            feature="min_p", engines=VLLM,
        ),
        Parameter("repetition_penalty", Number(0.01, 10.0), "Above 1: against repeated tokens.", engines=VLLM),
        Parameter("min_tokens", Number(0, "context_length", integer=True), "The fewest tokens to make.", engines=VLLM),
        Parameter("ignore_eos", Flag(), "Go on beyond the end of the turn.", engines=VLLM),
        Parameter("stop_token_ids", Items(TOKEN_ID, 0, 64), "Token ids that end the answer.", engines=VLLM),
        Parameter("include_stop_str_in_output", Flag(), "Keep the text of `stop` in the answer.", engines=VLLM),
        Parameter("skip_special_tokens", Flag(), "Leave special tokens out of the text.", engines=VLLM),
        Parameter("include_reasoning", Flag(), "Send the reasoning of models that reason.", engines=VLLM),
        Parameter(
            "chat_template_kwargs", TemplateKwargs(), "Variables of the template that the operator lets you set.",
            engines=VLLM,
        ),
        ignored("service_tier", "There is one tier."),
        ignored("store", "Nothing is stored."),
        ignored("prediction", "Speculation is configured by the operator."),
        refused("audio", "speech has a route of its own, /v1/audio/speech."),
        refused("functions", "use `tools`."),
        refused("function_call", "use `tool_choice`."),
        refused("web_search_options", "hosted tools are not run here; bring your own function in `tools`."),
        refused("chat_template", "the template belongs to the model."),
        refused("prompt_embeds", "send text."),
        refused("trust_remote_code", "code is the operator's to choose."),
        refused("mm_processor_kwargs", "processing of media is the operator's to choose."),
        refused("media_io_kwargs", "reading of media is the operator's to choose."),
    ),
    rules=(check_dependencies, check_tool_results, TOOL_CHOICE.check),
)  # fmt: skip
