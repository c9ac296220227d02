"""The options of sentence-transformers."""

import pydantic

from contract.fields import PositiveInt, Strict


class EmbedderOptions(Strict):
    """`engine_kwargs` of a model entry whose engine is sentence-transformers."""

    device: str | None = pydantic.Field(None, description="cpu, cuda, ...; left out: what is there")
    batch_size: PositiveInt = pydantic.Field(32, description="texts that go through the model at once")
    matryoshka: bool = pydantic.Field(False, description="whether the first numbers of a vector are one themselves")
