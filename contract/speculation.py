"""`speculation:` of a model entry, and vLLM's `speculative_config` of it. The fields are vLLM's own, by their names."""

from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic
from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag

from contract.fields import PositiveInt, Strict
from contract.project import in_project

# vLLM's own arguments for the same, in `engine_kwargs`.
ENGINE_ARGUMENTS = frozenset({"speculative_config", "spec_method", "spec_model", "spec_tokens"})

Word = Literal["off", "auto"]
# (from, to, draft tokens): for batches of so many requests, both ends included.
Tier = tuple[PositiveInt, PositiveInt, Annotated[int, Field(ge=0)]]
Name = Annotated[str, StringConstraints(min_length=1)]


class Method(Strict):
    """One way to draft tokens that the model then checks."""

    method: str

    def speculative_config(self) -> dict[str, Any]:
        """vLLM's `speculative_config`. What was left out here is left to vLLM."""
        return self.model_dump(mode="json", exclude_none=True)


class Tiered(Method):
    """A method whose draft length can fall as more requests share a batch."""

    num_speculative_tokens: PositiveInt
    num_speculative_tokens_per_batch_size: Annotated[list[Tier], Field(min_length=1)] | None = Field(
        None, description="[from, to, tokens] each; 0 tokens is off, and the last holds for all larger batches too"
    )

    @pydantic.model_validator(mode="after")
    def _tiers_follow_each_other(self) -> Self:
        name, expected = "num_speculative_tokens_per_batch_size", 1
        for first, last, tokens in self.num_speculative_tokens_per_batch_size or []:
            if first != expected or last < first:
                raise ValueError(
                    f"{name}: [{first}, {last}, {tokens}] must begin at {expected} and end no earlier; the batch sizes "
                    "begin at 1 and leave none out"
                )
            if tokens > self.num_speculative_tokens:
                raise ValueError(
                    f"{name}: {tokens} tokens are more than num_speculative_tokens, which is "
                    f"{self.num_speculative_tokens}"
                )
            expected = last + 1
        return self


class Ngram(Tiered):
    """Drafts what followed the last tokens where they stood before. Needs no weights."""

    method: Literal["ngram"] = "ngram"
    num_speculative_tokens: PositiveInt = 4
    prompt_lookup_min: PositiveInt = Field(2, description="the fewest last tokens that must have stood before")
    prompt_lookup_max: PositiveInt = Field(5, description="the most that are looked for")

    @pydantic.model_validator(mode="after")
    def _min_is_not_over_max(self) -> Self:
        if self.prompt_lookup_min > self.prompt_lookup_max:
            raise ValueError(
                f"prompt_lookup_min ({self.prompt_lookup_min}) is over prompt_lookup_max ({self.prompt_lookup_max})"
            )
        return self


class Suffix(Method):
    """Drafts from suffix trees of this and of earlier answers, as long as they agree. Needs `arctic-inference`."""

    method: Literal["suffix"] = "suffix"
    num_speculative_tokens: PositiveInt | None = Field(None, description="the most; left out: the depth of the tree")
    suffix_decoding_max_tree_depth: PositiveInt | None = None
    suffix_decoding_max_cached_requests: Annotated[int, Field(ge=0)] | None = None
    suffix_decoding_max_spec_factor: Annotated[float, Field(ge=0)] | None = None
    suffix_decoding_min_token_prob: Annotated[float, Field(ge=0, le=1)] | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _has_no_tiers(cls, data: Any) -> Any:
        if isinstance(data, dict) and "num_speculative_tokens_per_batch_size" in data:
            raise ValueError(
                "num_speculative_tokens_per_batch_size: suffix sets the length of each draft by itself; remove this"
            )
        return data


class Drafting(Tiered):
    """A method that drafts with weights."""

    model: Name | None
    revision: Name | None = None
    quantization: Name | None = None
    draft_tensor_parallel_size: PositiveInt | None = Field(None, description="1, or the model's own")
    max_model_len: PositiveInt | None = None
    attention_backend: Name | None = None
    draft_sample_method: Literal["greedy", "probabilistic"] | None = None
    rejection_sample_method: Literal["standard", "block"] | None = None

    def speculative_config(self) -> dict[str, Any]:
        config = super().speculative_config()
        return config if self.model is None else config | {"model": in_project(self.model)}


class Separate(Drafting):
    """A method whose weights are a checkpoint beside the model's."""

    model: Name
    needed: ClassVar[str]  # what `model` names

    @pydantic.model_validator(mode="before")
    @classmethod
    def _has_a_model(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("model"):
            raise ValueError(f"model: it is missing; name {cls.needed}: a hub name, or a folder as in `source`")
        return data


class DraftModel(Separate):
    """Drafts with a smaller model."""

    needed = "a smaller model of the same vocabulary"
    method: Literal["draft_model"] = "draft_model"
    num_speculative_tokens: PositiveInt = 4
    parallel_drafting: bool | None = Field(None, description="for drafts that were trained for it (PARD)")
    use_heterogeneous_vocab: bool | None = Field(None, description="for a draft of another vocabulary")


class Eagle3(Separate):
    """Drafts with an EAGLE-3 head, which reads the model's hidden states."""

    needed = "an EAGLE-3 head that was trained for this model"
    method: Literal["eagle3"] = "eagle3"
    num_speculative_tokens: PositiveInt = 3
    parallel_drafting: bool | None = Field(None, description="for heads that were trained for it (P-EAGLE)")


class DFlash(Separate):
    """Drafts a block at once with a DFlash model, which reads the model's hidden states."""

    needed = "a DFlash draft that was trained for this model"
    method: Literal["dflash"] = "dflash"
    num_speculative_tokens: PositiveInt = 15


class Mtp(Drafting):
    """Drafts with the model's own head for several tokens."""

    method: Literal["mtp"] = "mtp"
    num_speculative_tokens: PositiveInt = 1
    model: Name | None = Field(None, description="only where the head is a checkpoint of its own, as for Gemma 4")


METHODS: dict[str, type[Method]] = {
    "ngram": Ngram,
    "suffix": Suffix,
    "draft_model": DraftModel,
    "eagle3": Eagle3,
    "mtp": Mtp,
    "dflash": DFlash,
}


def _yaml_off(value: Any) -> Any:
    """YAML 1.1 reads a bare `off` as false."""
    return "off" if value is False or value is None else value


def _kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "word" if value in ("off", "auto") else None
    method = value.get("method") if isinstance(value, dict) else getattr(value, "method", None)
    return method if isinstance(method, str) and method in METHODS else None


Speculation = Annotated[
    Annotated[Word, Tag("word")]
    | Annotated[Ngram, Tag("ngram")]
    | Annotated[Suffix, Tag("suffix")]
    | Annotated[DraftModel, Tag("draft_model")]
    | Annotated[Eagle3, Tag("eagle3")]
    | Annotated[Mtp, Tag("mtp")]
    | Annotated[DFlash, Tag("dflash")],
    Discriminator(
        _kind,
        custom_error_type="speculation",
        custom_error_message=f"it is `off`, `auto`, or a mapping whose `method` is one of {', '.join(METHODS)}",
    ),
    BeforeValidator(_yaml_off),
]


def to_wire(speculation: Word | Method) -> str | dict[str, Any]:
    """As plain data, for another process."""
    return speculation if isinstance(speculation, str) else speculation.model_dump(mode="json", exclude_none=True)


def from_wire(data: str | dict[str, Any]) -> Word | Method:
    return pydantic.TypeAdapter[Word | Method](Speculation).validate_python(data)
