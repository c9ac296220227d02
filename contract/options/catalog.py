"""Every engine: its tasks, and the model of its options."""

from typing import Any, Literal, NamedTuple

import pydantic

from contract.fields import Strict, explain
from contract.options.diffusers import DiffusersOptions
from contract.options.faster_whisper import TranscriberOptions
from contract.options.sentence_transformers import EmbedderOptions
from contract.options.speech import BarkOptions, EspeakOptions, QwenTtsOptions, VitsOptions, XttsOptions

Task = Literal["chat", "embeddings", "images", "transcriptions", "speech"]
EngineName = Literal[
    "vllm",
    "sentence-transformers",
    "diffusers",
    "faster-whisper",
    "espeak-ng",
    "vits",
    "bark",
    "xtts",
    "qwen3-tts",
]


class Engine(NamedTuple):
    """One engine."""

    tasks: tuple[Task, ...]
    options: type[Strict] | None  # none: the engine checks its own arguments when it starts


CATALOG: dict[EngineName, Engine] = {
    "vllm": Engine(("chat", "embeddings"), None),
    "sentence-transformers": Engine(("embeddings",), EmbedderOptions),
    "diffusers": Engine(("images",), DiffusersOptions),
    "faster-whisper": Engine(("transcriptions",), TranscriberOptions),
    "espeak-ng": Engine(("speech",), EspeakOptions),
    "vits": Engine(("speech",), VitsOptions),
    "bark": Engine(("speech",), BarkOptions),
    "xtts": Engine(("speech",), XttsOptions),
    "qwen3-tts": Engine(("speech",), QwenTtsOptions),
}


def check_options(engine: EngineName, given: dict[str, Any]) -> None:
    """Raises ValueError where `given` is not legal for `engine`."""
    options = CATALOG[engine].options
    if options is None:
        return
    try:
        options.model_validate(given)
    except pydantic.ValidationError as error:
        faults = str(explain(error, "engine_kwargs")).replace("\n", "; ")
        raise ValueError(f"{faults}. Legal are {', '.join(options.model_fields)}") from None


def engines_of(task: Task) -> list[str]:
    return [name for name, engine in CATALOG.items() if task in engine.tasks]
