"""The engines: one line each. What each can do, the options it takes, and the class that starts it, by name."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
from pydantic import AfterValidator

from contract.fields import Strict, explain
from contract.options.diffusers import DiffusersOptions
from contract.options.faster_whisper import TranscriberOptions
from contract.options.permissions import Permission
from contract.options.sentence_transformers import EmbedderOptions
from contract.options.speech import (
    BarkOptions,
    EspeakOptions,
    KokoroOptions,
    PiperOptions,
    QwenTtsOptions,
    VitsOptions,
    XttsOptions,
)
from contract.tracing import TraceExport

Task = Literal["chat", "embeddings", "rerank", "images", "transcriptions", "speech"]


class EngineSpec(NamedTuple):
    """One engine."""

    name: str
    load: Mapping[Task, str]  # "module:Class" for each task; imported by the replica only, see `deployments.replica`
    options: type[Strict] | None  # of `engine_kwargs`; none: the engine checks its own arguments when it starts
    needs: tuple[Permission, ...] = ()  # what every entry of the engine must allow
    downloads: bool = True  # whether a `source` that is no folder is a name on the hub
    stall_timeout_s: float = 300.0  # longer than a step of the slowest model: an image's on a CPU, a batch of windows

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(self.load)

    def parsed(self, engine_kwargs: dict[str, Any]) -> Any:
        """`engine_kwargs` as the engine's options; as they are where it has none. Raises pydantic.ValidationError."""
        return engine_kwargs if self.options is None else self.options.model_validate(engine_kwargs)


class ServedModel(NamedTuple):
    """One model entry, as its engine needs it: plain data."""

    id: str
    engine: str
    task: Task
    source: str  # a folder or a hub name
    engine_kwargs: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    speculation: str | dict[str, Any] = "off"  # `contract.speculation.to_wire`
    revision: str | None = None  # the commit of a hub name
    allow: tuple[Permission, ...] = ()
    stall_timeout_s: float | None = None  # see `deployments.watchdog`; None: nobody would replace the process
    tracing: TraceExport | None = None  # where the engine's own spans go; None: it makes none


SPECS = (
    EngineSpec("vllm", {"chat": "deployments.vllm.engine:VllmChatEngine",
                        "embeddings": "deployments.vllm.embeddings:VllmEmbeddingsEngine",
                        "rerank": "deployments.vllm.reranking:VllmRerankingEngine"}, None, stall_timeout_s=120),
    EngineSpec("sentence-transformers",
               {"embeddings": "deployments.sentence_transformers.engine:SentenceTransformersEngine",
                "rerank": "deployments.sentence_transformers.reranking:RerankingEngine"}, EmbedderOptions),
    EngineSpec("diffusers", {"images": "deployments.images.engine:DiffusersEngine"}, DiffusersOptions),
    EngineSpec("faster-whisper", {"transcriptions": "deployments.transcriptions.engine:FasterWhisperEngine"},
               TranscriberOptions),
    EngineSpec("espeak-ng", {"speech": "deployments.speech.espeak:EspeakSynthesizer"}, EspeakOptions, downloads=False),
    EngineSpec("piper", {"speech": "deployments.speech.piper:PiperSynthesizer"}, PiperOptions),
    EngineSpec("kokoro", {"speech": "deployments.speech.kokoro:KokoroSynthesizer"}, KokoroOptions),
    EngineSpec("vits", {"speech": "deployments.speech.vits:VitsSynthesizer"}, VitsOptions),
    EngineSpec("bark", {"speech": "deployments.speech.bark:BarkSynthesizer"}, BarkOptions),
    EngineSpec("xtts", {"speech": "deployments.speech.xtts:XttsSynthesizer"}, XttsOptions, needs=("pickle",)),
    EngineSpec("qwen3-tts", {"speech": "deployments.speech.qwen:QwenTtsSynthesizer"}, QwenTtsOptions),
)  # fmt: skip
CATALOG = {spec.name: spec for spec in SPECS}


def _known(name: str) -> str:
    if name not in CATALOG:
        raise ValueError(f"there is no engine {name!r}; there are {', '.join(CATALOG)}")
    return name


EngineName = Annotated[str, AfterValidator(_known)]


def check_options(engine: EngineName, given: dict[str, Any]) -> None:
    """Raises ValueError where `given` is not legal for `engine`."""
    spec = CATALOG[engine]
    try:
        spec.parsed(given)
    except pydantic.ValidationError as error:
        faults = str(explain(error, "engine_kwargs", spec.options)).replace("\n", "; ")
        legal = ", ".join(spec.options.model_fields) if spec.options else ""
        raise ValueError(f"{faults}. Legal are {legal}") from None


def engines_of(task: Task) -> list[str]:
    return [name for name, spec in CATALOG.items() if task in spec.tasks]
