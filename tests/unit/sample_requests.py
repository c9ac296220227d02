"""A legal request of every table: what its model can do, the legal values of each row, and what one needs beside it."""

from dataclasses import replace
from typing import Any

from app.endpoints.catalog import ENDPOINTS
from app.endpoints.images import QUALITIES
from app.parameters.kinds import Flag, Items, Kind, Metadata, Number, OneOf, Text
from contract.profile import Profile

ABLE = Profile(
    engine="vllm",
    capabilities=frozenset(
        {"chat", "tools", "vision", "completions", "fill_in_the_middle", "tokenize", "embeddings", "rerank", "images"}
        | {"edits", "masks", "variations", "transcriptions", "translations", "speech"}
    ),
    limits={
        "context_length": 2048,
        "vocabulary_size": 384,
        "max_logprobs": 20,
        "dimensions": 384,
        "max_images": 4,
        "size_multiple": 16,
        "max_side": 2048,
        **{f"{quality}_steps": 8 for quality in QUALITIES},
    },
    template_kwargs=frozenset({"enable_thinking"}),
    languages=("en", "german"),
)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
BASE: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
# What a row needs beside it to be legal.
BESIDE: dict[str, dict[str, Any]] = {
    "stream_options": {"stream": True},
    "top_logprobs": {"logprobs": True},
    "tool_choice": {"tools": [TOOL]},
}
BESIDE_RESPONSES: dict[str, dict[str, Any]] = {
    "stream_options": {"stream": True},
    "tool_choice": {"tools": [{"type": "function", "name": "f"}]},
}
FLAT_TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}
ANTHROPIC_TOOL = {"name": "f", "input_schema": {"type": "object"}}
BESIDE_MESSAGES: dict[str, dict[str, Any]] = {
    "tool_choice": {"tools": [ANTHROPIC_TOOL]},
    "thinking": {"max_tokens": 2048},
}
PROMPT: dict[str, list[Any]] = {
    "messages": [BASE["messages"]],
    "system": ["Be brief.", [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}], []],
    "tools": [[ANTHROPIC_TOOL]],
    "tool_choice": [{"type": "none"}, {"type": "any"}, {"type": "tool", "name": "f"}],
    "thinking": [{"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}, {"type": "disabled"}],
    "output_config": [{}, {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}],
    "output_format": [{"type": "json_schema", "schema": {"type": "object"}}],
    "chat_template_kwargs": [{}],
}
IMAGE = {"image_url": "data:image/png;base64,AA=="}
# Legal values of the rows whose kind has a shape of its own; those of the others follow from their kinds.
LEGAL: dict[str, dict[str, list[Any]]] = {
    "chat": {
        "messages": [BASE["messages"]],
        "stream_options": [{"include_usage": True}, {"include_usage": False}],
        "logit_bias": [{}, {"0": -100, "383": 100}],
        "response_format": [{"type": "text"}, {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}],
        "tools": [[TOOL]],
        "tool_choice": ["none", "auto", "required", {"type": "function", "function": {"name": "f"}}],
        "modalities": [["text"]],
        "chat_template_kwargs": [{}, {"enable_thinking": False}],
    },
    "responses": {
        "input": ["hi", [{"role": "user", "content": "hi"}]],
        "stream_options": [{"include_usage": False}],
        "logit_bias": [{"0": 1}],
        "text": [{}, {"format": {"type": "json_object"}}],
        "tools": [[FLAT_TOOL]],
        "tool_choice": ["none", "auto", "required", {"type": "function", "name": "f"}],
        "reasoning": [{}, {"effort": "low"}],
        "background": [False],
        "chat_template_kwargs": [{}],
    },
    "completions": {
        "prompt": ["a", ["a", "b"], [1, 2, 383], [[1], [2, 3]]],
        "stream_options": [{"include_usage": True}],
        "logit_bias": [{"0": 1}],
        "response_format": [{"type": "json_object"}],
    },
    "tokenize": {"messages": [BASE["messages"]], "tools": [[TOOL]], "chat_template_kwargs": [{}]},
    "detokenize": {"tokens": [[], [0, 383]]},
    "embeddings": {"input": ["a", ["a", "b"], [1, 2, 3], [[1], [2, 3]]]},
    "rerank": {"documents": [["a"], ["a", "b"]]},
    "score": {"text_1": ["a", ["a"]], "text_2": ["a", ["a", "b"]]},
    "images": {"size": ["auto", "64x128"]},
    "edits": {"size": ["auto", "64x128"], "image": [[IMAGE]], "mask": [IMAGE]},
    "variations": {"size": ["auto", "64x128"], "image": [[IMAGE]]},
    "transcriptions": {"file": [b"RIFF"], "language": ["en", "yue"]},
    "translations": {"file": [b"RIFF"], "language": ["en", "yue"], "to_language": ["en"], "stream": [False]},
    "speech": {"input": ["Hi."], "voice": ["alloy"], "language": ["en", "german"]},
    "messages": PROMPT,
    "count_tokens": PROMPT,
}
LEGAL["input_tokens"] = LEGAL["responses"]
BESIDE_TRANSCRIPTIONS = {"timestamp_granularities": {"response_format": "verbose_json"}}
BESIDE_IMAGES: dict[str, dict[str, Any]] = {
    "partial_images": {"stream": True},
    "output_compression": {"output_format": "webp"},
}
BESIDE_COMPLETIONS: dict[str, dict[str, Any]] = {
    "stream_options": {"stream": True},
    "max_tokens": {"echo": True},  # 0 is legal then
    "min_tokens": {"max_tokens": 2048},
}
OF_MESSAGES: dict[str, Any] = BASE | {"prompt": None}  # as null, it is not there
BESIDE_TOKENIZE: dict[str, dict[str, Any]] = {
    "messages": {"prompt": None},
    **dict.fromkeys(("add_generation_prompt", "continue_final_message", "tools", "chat_template_kwargs"), OF_MESSAGES),
}
BESIDE_BY_TABLE = {
    "input_tokens": {"tool_choice": BESIDE_RESPONSES["tool_choice"]},
    "tokenize": BESIDE_TOKENIZE,
    "completions": BESIDE_COMPLETIONS,
    "chat": BESIDE,
    "responses": BESIDE_RESPONSES,
    "images": BESIDE_IMAGES,
    "edits": BESIDE_IMAGES,
    "transcriptions": BESIDE_TRANSCRIPTIONS,
    "messages": BESIDE_MESSAGES,
    "count_tokens": {"tool_choice": BESIDE_MESSAGES["tool_choice"]},
}
NAMES = (
    "chat", "responses", "input_tokens", "completions", "tokenize", "detokenize", "embeddings", "rerank", "score",
    "images", "edits", "variations", "transcriptions", "translations", "speech", "messages", "count_tokens",
)  # fmt: skip
ENDPOINT = dict(zip(NAMES, ENDPOINTS, strict=True))


def request_of(table: str, **fields: Any) -> dict[str, Any]:
    """A legal request for the table with `fields` in it."""
    request = dict(ENDPOINT[table].example)
    for name in fields:
        request |= BESIDE_BY_TABLE.get(table, {}).get(name, {})
    return {name: value for name, value in (request | fields).items() if value is not None}


ENGINES = {
    "images": "diffusers",
    "edits": "diffusers",
    "variations": "diffusers",
    "transcriptions": "faster-whisper",
    "translations": "faster-whisper",
}


def able(table: str) -> Profile:
    return replace(ABLE, engine=ENGINES.get(table, "vllm"))


def legal_values(kind: Kind) -> list[Any]:
    match kind:
        case Number():
            low, high = bounds(kind)
            return [value for value in (low, high) if value is not None] or [0]
        case Flag():
            return [True, False]
        case OneOf():
            return list(kind.values)
        case Text():
            return ["x" * max(kind.min_length, 1)]
        case Items():
            inner = legal_values(kind.kind)[0]
            return [[inner] * max(kind.min_items, 1)] + ([inner] if kind.single else [])
        case Metadata():
            return [{}, {"k" * 64: "v" * 512}]
    return []


def bounds(kind: Number) -> tuple[float | None, float | None]:
    low, high = (ABLE.limit(bound) if isinstance(bound, str) else bound for bound in (kind.low, kind.high))
    return low, high
