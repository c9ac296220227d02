"""What an entry may say of its model's memory on a GPU, where the files of the model do not."""

from pydantic import Field

from contract.fields import PositiveFloat, PositiveInt, Strict


class Memory(Strict):
    """Of a model's memory on a GPU, what `portico check` cannot read from files on this machine."""

    weights_gib: PositiveFloat | None = Field(
        None, description="all weights as they are loaded, in GiB; left out: read from the model's folder"
    )
    kv_cache_bytes_per_token: PositiveInt | None = Field(
        None,
        description="2 x layers x KV heads x head size x bytes of a value, for models of vllm; left out: read from the "
        "model's config.json",
    )
    working_gib: PositiveFloat | None = Field(
        None,
        description="CUDA context, activations and CUDA graphs, in GiB; left out: an allowance of the engine's kind",
    )
