"""The one file that knows sentence-transformers: a model, its tokenizer, and one thread that uses both."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from app.engines.sentence_transformers import EmbedderOptions
from app.errors import ApiError
from app.profile import Profile
from deployments.embedding_input import Input, too_long, unknown_token

NOT_MATRYOSHKA = "the model's vectors cannot be shortened"


class Embedded(NamedTuple):
    """The vectors of one request, in its order, and the tokens that it took."""

    vectors: np.ndarray[Any, np.dtype[np.float32]]  # texts x dimensions
    tokens: int


class Embedder:
    """A model that makes vectors of texts. Its tokenizer is not safe in several threads, so all work is in one."""

    def __init__(self, source: str, engine_kwargs: dict[str, Any]) -> None:
        """Load the model at `source`, a folder or a hub name."""
        from sentence_transformers import SentenceTransformer

        self._options = EmbedderOptions.model_validate(engine_kwargs)
        self._model = SentenceTransformer(source, device=self._options.device)
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="embedder")

    def profile(self) -> Profile:
        return Profile(
            engine="sentence-transformers",
            capabilities=frozenset({"embeddings"}),
            lacks={} if self._options.matryoshka else {"dimensions": NOT_MATRYOSHKA},
            limits={
                "context_length": int(self._model.max_seq_length),
                "dimensions": int(self._model.get_embedding_dimension()),
            },
        )

    def embed(self, requests: list[list[Input]]) -> list[Embedded | ApiError]:
        """The vectors of several requests, made together; or what is wrong with one. Blocks; call it on `thread`."""
        read = [self._read(inputs) for inputs in requests]
        texts = [text for one in read if not isinstance(one, ApiError) for text in one[0]]
        vectors = self._model.encode(
            texts, batch_size=self._options.batch_size, show_progress_bar=False, convert_to_numpy=True
        ).astype("<f4", copy=False) if texts else np.empty((0, 0), "<f4")  # fmt: skip
        results: list[Embedded | ApiError] = []
        start = 0
        for one in read:
            if isinstance(one, ApiError):
                results.append(one)
            else:
                results.append(Embedded(vectors[start : start + len(one[0])], one[1]))
                start += len(one[0])
        return results

    def _read(self, inputs: list[Input]) -> tuple[list[str], int] | ApiError:
        """The texts of one request and the tokens in them; or an error that names the text that is too long."""
        tokenizer = self._model.tokenizer
        if fault := unknown_token(inputs, len(tokenizer)):
            return fault
        texts = [one if isinstance(one, str) else tokenizer.decode(one, skip_special_tokens=True) for one in inputs]
        lengths = [len(ids) for ids in tokenizer(texts, truncation=False, verbose=False)["input_ids"]]
        return too_long(lengths, int(self._model.max_seq_length)) or (texts, sum(lengths))


def shortened(vectors: Any, dimensions: int | None) -> Any:
    """The first `dimensions` numbers of each vector, again of length one."""
    if dimensions is None or dimensions >= vectors.shape[1]:
        return vectors
    cut = vectors[:, :dimensions]
    return cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12)
