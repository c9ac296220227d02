"""What chat completions, completions and responses share: kinds of values, and the rows of sampling."""

from dataclasses import dataclass
from typing import Any

from app.parameters.kinds import INT64, Fields, Flag, Items, Metadata, Number, Reading, Text, wrong_type, wrong_value
from app.parameters.row import Parameter, Treatment, ignored, refused
from contract.adjustments import Changed
from contract.errors import ApiError
from contract.profile import Profile

MAX_STOPS = 4
MAX_BIASES = 1024
SMALLEST_TOP_P = 0.000001  # zero is not legal: no token would be left
VLLM = ("vllm",)
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
VERBOSITIES = ("low", "medium", "high")

TOKEN_LIMIT = Number(1, "context_length", integer=True)
TOKEN_ID = Number(0, "last_token_id", integer=True)
STREAM_OPTIONS = Fields({"include_usage": Flag(), "include_obfuscation": Flag()})


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
class TemplateKwargs:
    """Variables of the chat template that the model's configuration lets clients set."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, dict):
            raise wrong_type(name, self.description())
        for variable in value:
            if variable not in profile.template_kwargs:
                allowed = ", ".join(sorted(profile.template_kwargs)) or "none"
                raise ApiError(
                    "unsupported_parameter", f"`{name}` may set these variables for this model: {allowed}.", param=name
                )
        return Reading(value)

    def description(self) -> str:
        return "an object of chat template variables that this model lets clients set"

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


def need_stream(legal: dict[str, Any], _: Profile) -> tuple[()]:
    """A rule: options of a stream need a stream."""
    if "stream_options" in legal and not legal.get("stream"):
        raise ApiError("invalid_value", "`stream_options` needs `stream: true`.", param="stream_options")
    return ()


def wants_usage(parameters: dict[str, Any]) -> bool:
    """Whether the client of a stream asked to see its usage."""
    return bool(parameters.get("stream_options", {}).get("include_usage"))


def stop_sequences(most: int) -> Parameter:
    return Parameter(
        "stop",
        Items(Text(1), 0, most, single=True),
        "Stop sequences: generation stops before them, and they are not part of the output.",
    )


SAMPLING = (
    Parameter("temperature", Number(0.0, 2.0), "Sampling temperature. 0 is greedy sampling."),
    Parameter(
        "top_p",
        Number(SMALLEST_TOP_P, 1.0),
        "Nucleus sampling: sample from the most likely tokens whose probabilities add up to this.",
    ),
)
CHAT_SAMPLING = (  # OpenAI has these for chat completions only
    Parameter("presence_penalty", Number(-2.0, 2.0), "Above 0, penalizes tokens that have appeared in the text."),
    Parameter("frequency_penalty", Number(-2.0, 2.0), "Above 0, penalizes tokens by how often they have appeared."),
    Parameter("logit_bias", LogitBias(), "Bias added to the logits of these tokens.", feature="logit_bias"),
    Parameter("seed", Number(-INT64, INT64 - 1, integer=True), "The same seed gives the same response."),
    stop_sequences(MAX_STOPS),
)
VLLM_SAMPLING = (
    Parameter(
        "top_k",
        Number(-1, "vocabulary_size", integer=True),
        "Sample from this many of the most likely tokens. 0 and -1: from all.",
        engines=VLLM,
    ),
    Parameter(
        "min_p",
        Number(0.0, 1.0),
        "Minimum probability of a token, relative to the most likely one.",
        feature="min_p",
        engines=VLLM,
    ),
    Parameter(
        "repetition_penalty", Number(0.01, 10.0), "Above 1, penalizes tokens of the prompt and the text.", engines=VLLM
    ),
    Parameter("ignore_eos", Flag(), "Whether to generate beyond the end-of-sequence token.", engines=VLLM),
    Parameter("stop_token_ids", Items(TOKEN_ID, 0, 64), "Token ids that stop the generation.", engines=VLLM),
    Parameter("include_stop_str_in_output", Flag(), "Whether to keep the stop sequence in the output.", engines=VLLM),
    Parameter("skip_special_tokens", Flag(), "Whether to leave special tokens out of the output.", engines=VLLM),
)
CHAT_TEMPLATE_KWARGS = Parameter(
    "chat_template_kwargs",
    TemplateKwargs(),
    "Variables of the chat template that the operator lets clients set.",
    engines=VLLM,
)
VLLM_MESSAGES = (  # of routes that take messages
    Parameter("include_reasoning", Flag(), "Whether to return the reasoning of a reasoning model.", engines=VLLM),
    CHAT_TEMPLATE_KWARGS,
)
VLLM_TEXT = (  # of routes that return a text rather than items
    Parameter(
        "min_tokens",
        Number(0, "context_length", integer=True),
        "Minimum number of tokens to generate.",
        engines=VLLM,
    ),
    Parameter(
        "spaces_between_special_tokens",
        Flag(),
        "Whether to put spaces between special tokens of the output.",
        engines=VLLM,
    ),
)
METADATA = Parameter(
    "metadata", Metadata(), "Key-value pairs. Returned in the response and written to the log.", Treatment.ACCEPT
)
PROMPT_CACHE_KEY = Parameter(
    "prompt_cache_key", Text(), "Without effect: prompts are cached by their content.", Treatment.ACCEPT
)
SAFETY_IDENTIFIER = Parameter(
    "safety_identifier", Text(), "Stable identifier of your end user. Written to the log.", Treatment.ACCEPT
)
PARALLEL_TOOL_CALLS = Parameter(
    "parallel_tool_calls", Flag(), "Whether the model may call several tools in one response."
)
UNSUPPORTED = (
    ignored("service_tier", "There is one tier."),
    ignored("store", "Nothing is stored."),
    refused("chat_template", "the model's own chat template is used."),
    refused("prompt_embeds", "send text."),
)
