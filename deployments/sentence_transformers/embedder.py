"""A model on sentence-transformers that makes vectors of texts, and its tokenizer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from contract.errors import ApiError
from contract.options.catalog import ServedModel
from contract.options.sentence_transformers import EmbedderOptions
from contract.profile import Profile
from deployments.embedding_input import Input, tokens_of
from deployments.imports import importing
from deployments.sentence_transformers.batches import Row, TextJob, in_batches
from deployments.weights import fetched, loading

NOT_MATRYOSHKA = "the model's vectors cannot be shortened"
# Weights of other libraries.
NOT_READ = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.ot", "*.msgpack")

Vectors = np.ndarray[Any, np.dtype[np.float32]]


class Embedded(NamedTuple):
    """The vectors of one request, in its order, and the tokens that it took."""

    vectors: Vectors  # inputs x dimensions
    tokens: int


class EmbeddingJob(TextJob[Input, Embedded]):
    """One request."""


class Embedder:
    """A model that makes vectors of texts. Its tokenizer is not safe in several threads, so one does all work."""

    def __init__(self, model: ServedModel, options: EmbedderOptions) -> None:
        """Load the model. Raises PickleError."""
        self._options = options
        self._model = _loaded(model, options)
        self._dimensions = int(self._model.get_embedding_dimension())
        # What the model's own configuration puts before every text counts as a part of it.
        self._prompt = self._model.prompts.get(self._model.default_prompt_name or "", "")
        self.batches_done = 0

    def profile(self) -> Profile:
        return Profile(
            engine="sentence-transformers",
            capabilities=frozenset({"embeddings"}),
            lacks={} if self._options.matryoshka else {"dimensions": NOT_MATRYOSHKA},
            limits={"context_length": int(self._model.max_seq_length), "dimensions": self._dimensions},
        )

    def embed(self, jobs: Sequence[EmbeddingJob]) -> list[Embedded | ApiError]:
        """The vectors of several requests, made together; or what is wrong with one. Blocks; one thread calls it.

        A request that nobody wants any more is left after the batch that is under way; what is returned for it holds
        nothing of use.
        """
        read = [self._tokens(job.inputs) for job in jobs]
        results = [
            one if isinstance(one, ApiError)
            else Embedded(np.zeros((len(one), self._dimensions), "<f4"), sum(map(len, one)))
            for one in read
        ]  # fmt: skip
        for rows in in_batches(_rows(jobs, read), jobs, self._options.batch_size):
            for row, vector in zip(rows, self._vectors([row.given for row in rows]), strict=True):
                result = results[row.job]
                assert isinstance(result, Embedded)  # noqa: S101 - a request with a fault has no rows
                result.vectors[row.place] = vector
            self.batches_done += 1
        return results

    def _tokens(self, inputs: list[Input]) -> list[list[int]] | ApiError:
        tokenizer = self._model.tokenizer

        def tokenize(texts: list[str]) -> list[list[int]]:
            prompted = [self._prompt + text for text in texts]
            ids: list[list[int]] = tokenizer(prompted, truncation=False, verbose=False)["input_ids"]
            return ids

        return tokens_of(inputs, tokenize, int(self._model.max_seq_length), len(tokenizer))

    def _vectors(self, inputs: list[Input]) -> Vectors:
        """The vectors of one batch, all texts or all token ids; those go into the model as they are."""
        import torch

        if isinstance(inputs[0], str):
            made = self._model.encode(inputs, batch_size=len(inputs), show_progress_bar=False, convert_to_numpy=True)
            return np.asarray(made, "<f4")
        padded = self._model.tokenizer.pad({"input_ids": inputs}, return_tensors="pt", verbose=False)
        features = {name: tensor.to(self._model.device) for name, tensor in padded.items()}
        with torch.inference_mode():
            vectors = self._model(features)["sentence_embedding"].float().cpu().numpy()
        return np.asarray(vectors, "<f4")


def _rows(jobs: Sequence[EmbeddingJob], read: list[list[list[int]] | ApiError]) -> list[Row]:
    return [
        Row(number, place, given, len(ids))
        for number, (job, one) in enumerate(zip(jobs, read, strict=True))
        if not isinstance(one, ApiError)
        for place, (given, ids) in enumerate(zip(job.inputs, one, strict=True))
    ]


def _loaded(model: ServedModel, options: EmbedderOptions) -> Any:
    with importing():
        from sentence_transformers import SentenceTransformer

    folder = fetched(model, without=NOT_READ)
    with loading(folder, model.allow) as use_safetensors:
        return SentenceTransformer(
            str(folder),
            device=options.device,
            trust_remote_code="custom_code" in model.allow,
            model_kwargs={"use_safetensors": use_safetensors},
        )


def shortened(vectors: Any, dimensions: int | None) -> Any:
    """The first `dimensions` numbers of each vector, again of length one."""
    if dimensions is None or dimensions >= vectors.shape[1]:
        return vectors
    cut = vectors[:, :dimensions]
    return cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12)
