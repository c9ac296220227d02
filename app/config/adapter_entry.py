"""One LoRA adapter of a model: small weights beside the model's own, which clients ask for as a model of its own."""

from typing import Annotated, Self

import pydantic
from pydantic import Field, StringConstraints

from contract.fields import Commit, ModelId, Strict
from contract.project import in_project, is_hub_name
from contract.protocol import Adapter

# vLLM takes an adapter of such a name for the one that all messages with parts of that type are meant for.
PART_WORDS = frozenset({"text", "image", "audio", "video", "input", "file", "refusal", "thinking", "output", "tool"})


class AdapterEntry(Strict):
    """One LoRA adapter in PEFT's format, always as safetensors."""

    id: ModelId = Field(description="what clients call it; no other model or adapter has it")
    source: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="a hub name, an absolute folder, or a folder of the project that begins with ./, with "
        "adapter_config.json and adapter_model.safetensors"
    )
    revision: Commit | None = Field(None, description="the commit of a hub name, in 40 digits; a branch or a tag moves")

    @pydantic.field_validator("id")
    @classmethod
    def _not_a_part_word(cls, value: str) -> str:
        if value in PART_WORDS:
            raise ValueError(
                f"{value!r} is a type of content parts, which vLLM would mistake it for; choose another id"
            )
        return value

    @pydantic.model_validator(mode="after")
    def _source_has_a_legal_form(self) -> Self:
        if "://" in self.source:
            raise ValueError(f"source: {self.source} is a URL; name a folder or a hub name")
        if self.revision is not None and not is_hub_name(self.source):
            raise ValueError(f"revision: {self.source} is no hub name, so nothing has that commit; remove it")
        return self

    def served(self) -> Adapter:
        """The entry as replicas get it."""
        return Adapter(self.id, in_project(self.source), self.revision)
