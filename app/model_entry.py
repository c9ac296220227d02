"""One model of the configuration: what clients call it, which engine runs it, and with what."""

from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field, StringConstraints

from app.engines.catalog import EngineName, Task, check_options, engines_of
from app.fields import ModelId, Strict
from app.project import in_project
from app.scaling import Resources, Scaling
from app.speculation.methods import ENGINE_ARGUMENTS, Speculation

# Parts of the routes themselves: as the id of a model, each would make a path mean two things.
ROUTE_WORDS = frozenset({"chat", "responses", "embeddings", "images", "audio", "models", "completions"})

# Of every process that holds an engine; an entry's `env` may override it. No engine reports its use to anybody.
ENGINE_ENV = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

Capability = Literal[
    "chat", "embeddings", "images", "transcriptions", "speech", "tools", "vision", "audio", "video", "reasoning"
]


class ModelEntry(Strict):
    """One model: what clients call it, which engine runs it, and with what."""

    id: ModelId
    task: Task
    engine: EngineName
    source: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="a hub name, an absolute folder, or a folder of the project that begins with ./"
    )
    scaling: Scaling = Scaling()
    resources: Resources = Resources()
    env: dict[str, str] = Field({}, description="environment variables of the replicas")
    engine_kwargs: dict[str, Any] = Field(
        {}, description="the engine's own options; those of vllm are the arguments of `vllm serve`, with underscores"
    )
    speculation: Speculation = Field(
        "off", description="off, auto, or a method with its options; for vllm's chat models"
    )
    capabilities: dict[Capability, bool] = Field({}, description="instead of what is found in the model")
    chat_template_kwargs: list[str] = Field([], description="variables of the chat template that clients may set")

    @pydantic.model_validator(mode="after")
    def _engine_has_the_task(self) -> Self:
        able = engines_of(self.task)
        if self.engine not in able:
            raise ValueError(f"{self.engine} does not do the task {self.task}; {' or '.join(able)} does")
        return self

    @pydantic.model_validator(mode="after")
    def _speculation_has_its_place(self) -> Self:
        if self.speculation == "off":
            return self
        if (self.engine, self.task) != ("vllm", "chat"):
            raise ValueError(
                f"speculation: only chat models of vllm speculate, and {self.id} is for {self.task} on {self.engine}; "
                "remove it"
            )
        if twice := sorted(ENGINE_ARGUMENTS & set(self.engine_kwargs)):
            raise ValueError(
                f"speculation: engine_kwargs.{twice[0]} is set too; keep one of them. `speculation` is checked before "
                "the start, the other is vLLM's own and knows more methods"
            )
        return self

    @pydantic.field_validator("engine_kwargs")
    @classmethod
    def _options_are_legal(cls, value: dict[str, Any], info: pydantic.ValidationInfo) -> dict[str, Any]:
        if "engine" in info.data:  # it is not where the name itself is wrong
            check_options(info.data["engine"], value)
        return value

    @pydantic.field_validator("id")
    @classmethod
    def _not_a_route_word(cls, value: str) -> str:
        if value in ROUTE_WORDS:
            raise ValueError(f"{value!r} is a part of the routes; choose another id")
        return value

    def environment(self) -> dict[str, str]:
        """The environment variables of the model's replicas."""
        return ENGINE_ENV | self.env

    def location(self) -> str:
        """`source` as an engine takes it: a hub name, or an absolute path."""
        return in_project(self.source)
