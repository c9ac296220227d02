"""One model of the configuration: what clients call it, which engine runs it, and with what."""

import os
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field, StringConstraints

from app.engines.catalog import EngineName, Task, check_options, engines_of
from app.fields import ModelId, Strict
from app.project import in_project
from app.scaling import Resources, Scaling

# Parts of the routes themselves: as the id of a model, each would make a path mean two things.
ROUTE_WORDS = frozenset({"chat", "responses", "embeddings", "images", "audio", "models", "completions"})

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
    packages: list[Annotated[str, StringConstraints(pattern=r"^\.?/[^:]+$")]] = Field(
        [],
        description="folders of packages, absolute or beginning with ./, that the replicas prefer to the common ones",
    )
    engine_kwargs: dict[str, Any] = Field(
        {}, description="the engine's own options; those of vllm are the arguments of `vllm serve`, with underscores"
    )
    capabilities: dict[Capability, bool] = Field({}, description="instead of what is found in the model")
    chat_template_kwargs: list[str] = Field([], description="variables of the chat template that clients may set")

    @pydantic.model_validator(mode="after")
    def _engine_has_the_task(self) -> Self:
        able = engines_of(self.task)
        if self.engine not in able:
            raise ValueError(f"{self.engine} does not do the task {self.task}; {' or '.join(able)} does")
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
        """The environment variables of its replicas."""
        path = [*map(in_project, self.packages), *filter(None, [self.env.get("PYTHONPATH")])]
        return self.env | ({"PYTHONPATH": os.pathsep.join(path)} if path else {})

    def location(self) -> str:
        """`source` as an engine takes it: a hub name, or an absolute path."""
        return in_project(self.source)
