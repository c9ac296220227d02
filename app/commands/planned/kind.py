"""Which task and which engine the files of a model are for."""

import re
from typing import NamedTuple

from app.commands.planned.source import ESPEAK, Source
from contract.fields import ConfigError
from contract.options.catalog import Task

# What a chat template writes around a call of a tool -> vLLM's parser of it. The first that is there.
TOOL_MARKS = {
    "<function=": "qwen3_coder",
    "<tool_call>": "hermes",
    "[TOOL_CALLS]": "mistral",
    "<|python_tag|>": "llama3_json",
}
POOLING = re.compile(r"(.*/)?modules\.json")
CLASSIFIES = re.compile(r"\w+ForSequenceClassification")
GENERATES = re.compile(r"\w+For(CausalLM|ConditionalGeneration)")
SPEECH_TYPES = {"bark": "bark", "vits": "vits", "qwen3_tts": "qwen3-tts"}  # `model_type` -> the engine
BY_HAND = "Write a model entry for it and serve that file: docs/adding-an-engine.md and docs/speech.md"


class Kind(NamedTuple):
    """What a model is for."""

    task: Task
    engine: str
    tool_parser: str | None = None  # of vLLM
    reasoning_parser: str | None = None


def kind_of(source: Source) -> Kind:
    """Raises ConfigError where no engine runs the model, or where it needs what only an entry can say."""
    if source.name == ESPEAK:
        return Kind("speech", ESPEAK)
    if "model_index.json" in source.sizes:
        return Kind("images", "diffusers")
    if "adapter_config.json" in source.sizes:
        raise ConfigError(f"{source.name} is an adapter (LoRA), no model; name the model that it belongs to")
    if source.has(r"(onnx/)?model\w*\.onnx") and source.has(r"voices/.+"):
        return Kind("speech", "kokoro")
    if source.has(r"(.*/)?[^/]+\.onnx\.json"):
        return Kind("speech", "piper")
    config = source.json("config.json")
    if not config:
        raise ConfigError(f"{source.name}: {_without_config(source)}")
    return _of_config(source, config)


def _of_config(source: Source, config: dict[str, object]) -> Kind:
    model_type = str(config.get("model_type", ""))
    names = config.get("architectures")
    architecture = str(names[0]) if isinstance(names, list) and names else ""
    if "model.bin" in source.sizes and {"alignment_heads", "lang_ids"} & set(config):
        return Kind("transcriptions", "faster-whisper")
    if model_type == "whisper":
        raise ConfigError(
            f"{source.name} is a Whisper for transformers, and faster-whisper needs CTranslate2's files: name its "
            "conversion, such as Systran/faster-whisper-base, or convert it with ct2-transformers-converter"
        )
    if config.get("model") == "xtts":
        raise ConfigError(f"{source.name} is an XTTS, whose licence you must accept in its entry. {BY_HAND}")
    if model_type in SPEECH_TYPES:
        return Kind("speech", SPEECH_TYPES[model_type])
    if CLASSIFIES.fullmatch(architecture):
        return _of_labels(source, config)
    generates = GENERATES.fullmatch(architecture) is not None
    if source.has(POOLING.pattern):
        return Kind("embeddings", "vllm" if generates else "sentence-transformers")
    if not generates:
        raise ConfigError(
            f"{source.name}: {architecture or model_type or 'its architecture'} is no model that chats, draws, hears, "
            f"speaks, embeds or reranks, as far as its files say. {BY_HAND}"
        )
    return _of_template(source)


def _of_labels(source: Source, config: dict[str, object]) -> Kind:
    """A classifier: one that has a single label gives a text, or two, a score."""
    names = config.get("id2label")
    if isinstance(names, dict) and len(names) == 1:
        return Kind("rerank", "sentence-transformers")
    raise ConfigError(
        f"{source.name} is a classifier of several labels, which no route serves. A reranker is one with a single label"
    )


def _of_template(source: Source) -> Kind:
    """A language model, by how its chat template writes tool calls and reasoning."""
    given = source.text("chat_template.jinja") or source.json("tokenizer_config.json").get("chat_template") or ""
    template = given if isinstance(given, str) else str(given)
    if not template:
        raise ConfigError(
            f"{source.name} has no chat template, so it cannot chat: a base model? Name its variant for chats, which "
            "is often called -Instruct or -Chat"
        )
    tools = next((parser for mark, parser in TOOL_MARKS.items() if mark in template and "tools" in template), None)
    thinks = "</think>" in template
    reasoning = ("qwen3" if "enable_thinking" in template else "deepseek_r1") if thinks else None
    return Kind("chat", "vllm", tools, reasoning)


def _without_config(source: Source) -> str:
    if source.has(r"(.*/)?[^/]+\.gguf"):
        return "it has GGUF files, which no engine here runs; name the model that they were made of"
    return f"it has no config.json and no model_index.json, so its type is not known. {BY_HAND}"
