"""The parameters of POST /v1/responses."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from app.endpoints.chat_parameters import (
    EFFORTS,
    INT64,
    MAX_STOPS,
    SMALLEST_TOP_P,
    TOKEN_ID,
    TOKEN_LIMIT,
    VERBOSITIES,
    VLLM,
    LogitBias,
    StreamOptions,
    TemplateKwargs,
)
from app.parameters.kinds import UNKNOWN, Choice, Flag, Items, Metadata, Number, Reading, Text, wrong_type, wrong_value
from app.parameters.messages import ROLES
from app.parameters.parts import ImageSlot, PartKind, check_content, check_image, dropped, parts_of, text_part
from app.parameters.row import Parameter, Table, Treatment, ignored, missing, refused
from app.parameters.tools import Format, ToolChoice, Tools
from contract.errors import ApiError
from contract.profile import Profile

TOOL_CHOICE = ToolChoice(nested=False)
FORMAT = Format(nested=False)
NOTHING_STORED = "nothing is stored; send the whole conversation in `input`."
# Kinds of items in `input`.
ITEMS = ("message", "function_call", "function_call_output", "reasoning")
SUMMARIES = ("auto", "concise", "detailed")
INCLUDABLE = ("message.output_text.logprobs", "reasoning.encrypted_content")


def _check_image(part: dict[str, Any], place: str) -> None:
    if part.get("file_id") is not None:
        raise ApiError(
            "unsupported_parameter", f"`{place}.file_id` is not supported: no files are kept here; send `image_url`.",
            param=f"{place}.file_id",
        )  # fmt: skip
    check_image(part, "image_url", place)


PARTS = {
    "input_text": text_part("text"),
    "output_text": text_part("text"),
    "refusal": text_part("refusal"),
    "input_image": PartKind(_check_image, "vision", frozenset({"type", "image_url", "detail", "file_id"})),
}


@dataclass(frozen=True, slots=True)
class Input:
    """A text, or an array of items: messages, calls, their results, reasoning. Texts are not looked at."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if isinstance(value, str):
            return Reading(value)
        if not isinstance(value, list):
            raise wrong_type(name, self.description())
        if not value:
            raise wrong_value(name, "a string or an array of at least one item")
        called: set[str] = set()
        gone = [one for i, item in enumerate(value) for one in _check_item(item, f"{name}.{i}", called, profile)]
        return Reading(value, dropped=dropped(gone, name))

    def description(self) -> str:
        return "a string or an array of items"

    def schema(self) -> dict[str, Any]:
        item = {"type": "object", "properties": {"type": {"enum": list(ITEMS)}, "role": {"enum": list(ROLES)}}}
        return {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": item}]}


def _check_item(item: Any, place: str, called: set[str], profile: Profile) -> list[str]:
    if not isinstance(item, dict):
        raise wrong_type(place, "an object")
    kind = item.get("type") or "message"
    if kind == "item_reference":
        raise ApiError(
            "unsupported_parameter",
            f"`{place}` refers to an item, and nothing is stored: send the item itself. The Vercel AI SDK does so with "
            "providerOptions.openai.store = false, and with .chat(model).",
            param=place,
        )
    if kind not in ITEMS:
        raise wrong_value(f"{place}.type", "one of " + ", ".join(ITEMS))
    if kind == "message":
        if item.get("role") not in ROLES:
            raise wrong_value(f"{place}.role", "one of " + ", ".join(ROLES))
        return check_content(item.get("content"), f"{place}.content", PARTS, profile)
    if kind == "function_call":
        for field in ("call_id", "name", "arguments"):
            if not isinstance(item.get(field), str):
                raise wrong_type(f"{place}.{field}", "a string") if field in item else missing(f"{place}.{field}")
        called.add(item["call_id"])
    elif kind == "function_call_output":
        if "output" not in item:
            raise missing(f"{place}.output")
        if item.get("call_id") not in called:
            raise wrong_value(f"{place}.call_id", "the id of a function call before it")
        return check_content(item["output"], f"{place}.output", PARTS, profile)
    return []


def images(request: dict[str, Any]) -> Iterator[ImageSlot]:
    """The images of a checked request: in messages and in what functions gave back."""
    if isinstance(request["input"], str):
        return
    for number, item in enumerate(request["input"]):
        for field in ("content", "output"):
            for index, part in parts_of(item.get(field), "input_image"):
                yield ImageSlot(part, "image_url", f"input.{number}.{field}.{index}.image_url")


@dataclass(frozen=True, slots=True)
class TextConfig:
    """`format`: text, a JSON object, or JSON that fits a schema; and `verbosity` where the template reads it."""

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, dict):
            raise wrong_type(name, self.description())
        kept: dict[str, Any] = {}
        if value.get("format") is not None:
            kept["format"] = FORMAT.read(value["format"], f"{name}.format", profile).value
        dropped = [(field, UNKNOWN) for field in value if field not in ("format", "verbosity")]
        if value.get("verbosity") is not None:
            verbosity = Choice(VERBOSITIES).read(value["verbosity"], f"{name}.verbosity", profile).value
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
    """How long to think, and how to sum it up."""

    fields: ClassVar[dict[str, tuple[str, ...]]] = {"effort": EFFORTS, "summary": SUMMARIES}

    def read(self, value: Any, name: str, profile: Profile) -> Reading:
        if not isinstance(value, dict):
            raise wrong_type(name, self.description())
        kept: dict[str, Any] = {}
        for field, choices in self.fields.items():
            if value.get(field) is not None:
                kept[field] = Choice(choices).read(value[field], f"{name}.{field}", profile).value
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


def check_dependencies(kept: dict[str, Any], _: Profile) -> Iterable[tuple[str, float, float]]:
    """Parameters that mean something only beside another."""
    if "stream_options" in kept and not kept.get("stream"):
        raise ApiError("invalid_value", "`stream_options` needs `stream: true`.", param="stream_options")
    return ()


RESPONSES = Table(
    rows=(
        Parameter("model", Text(), "The id of a model. May be left out under /v1/{pipeline}/.", Treatment.GATEWAY),
        Parameter(
            "input", Input(), "What to answer: a text, or the conversation so far.", required=True, capability="chat"
        ),
        Parameter("instructions", Text(), "A system message before the input."),
        Parameter("stream", Flag(), "Send the response as server-sent events while it is made."),
        Parameter("stream_options", StreamOptions(), "Without effect: usage is always told.", Treatment.GATEWAY),
        Parameter("max_output_tokens", TOKEN_LIMIT, "The most tokens to make. Default: what the context leaves."),
        Parameter("temperature", Number(0.0, 2.0), "Randomness; 0 takes the likeliest token."),
        Parameter("top_p", Number(SMALLEST_TOP_P, 1.0), "Sample from the likeliest tokens of this total probability."),
        Parameter("top_logprobs", Number(0, "max_logprobs", integer=True), "Log-probabilities of that many rivals."),
        Parameter("include", Items(Choice(INCLUDABLE), 0, 8), "What else the response is to hold."),
        Parameter("text", TextConfig(), "The shape of the answer."),
        Parameter("tools", Tools(nested=False), "Functions that the model may call.", capability="tools", absent=([],)),
        Parameter(
            "tool_choice", TOOL_CHOICE, "Whether and which tool is called.", capability="tools", absent=("auto",)
        ),
        Parameter("parallel_tool_calls", Flag(), "Whether one response may call several tools."),
        Parameter("max_tool_calls", Number(1, integer=True), "Without effect: only hosted tools are counted."),
        Parameter("reasoning", Reasoning(), "How long to think.", feature="reasoning_effort"),
        Parameter("truncation", Choice(("disabled", "auto")), "Whether the start of a long input may be left out."),
        Parameter("metadata", Metadata(), "Echoed in the response and written to the log.", Treatment.ACCEPT),
        Parameter("user", Text(), "Written to the log.", Treatment.ACCEPT),
        Parameter("safety_identifier", Text(), "Echoed, and written to the log.", Treatment.ACCEPT),
        Parameter("prompt_cache_key", Text(), "Echoed; prefixes are cached by content.", Treatment.ACCEPT),
        Parameter("background", Never("a response is made while you wait."), "False.", Treatment.ACCEPT),
        # What vLLM has beyond OpenAI.
        Parameter("presence_penalty", Number(-2.0, 2.0), "Against tokens that have appeared.", engines=VLLM),
        Parameter("frequency_penalty", Number(-2.0, 2.0), "Against tokens that appeared often.", engines=VLLM),
        Parameter("logit_bias", LogitBias(), "Adds to single logits.", feature="logit_bias", engines=VLLM),
        Parameter("seed", Number(-INT64, INT64 - 1, integer=True), "Same seed, same response.", engines=VLLM),
        Parameter("stop", Items(Text(1), 0, MAX_STOPS, single=True), "Texts that end the response.", engines=VLLM),
        Parameter("stop_token_ids", Items(TOKEN_ID, 0, 64), "Token ids that end the response.", engines=VLLM),
        Parameter("top_k", Number(-1, "vocabulary_size", integer=True), "Sample from that many tokens.", engines=VLLM),
        Parameter("min_p", Number(0.0, 1.0), "As in chat completions.", feature="min_p", engines=VLLM),
        Parameter("repetition_penalty", Number(0.01, 10.0), "Above 1: against repeated tokens.", engines=VLLM),
        Parameter("ignore_eos", Flag(), "Go on beyond the end of the turn.", engines=VLLM),
        Parameter("chat_template_kwargs", TemplateKwargs(), "Variables that the operator lets you set.", engines=VLLM),
        ignored("service_tier", "There is one tier."),
        ignored("store", "Nothing is stored."),
        refused("previous_response_id", NOTHING_STORED),
        refused("conversation", NOTHING_STORED),
        refused("prompt", "prompts are not kept here; send `instructions` and `input`."),
        refused("chat_template", "the template belongs to the model."),
        refused("prompt_embeds", "send text."),
    ),
    rules=(check_dependencies, TOOL_CHOICE.check),
)
