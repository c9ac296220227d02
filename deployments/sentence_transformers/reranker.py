"""A cross-encoder on sentence-transformers: a model that reads two texts together and gives them a score."""

from collections.abc import Sequence
from typing import Any

from contract.errors import ApiError
from contract.options.catalog import ServedModel
from contract.options.sentence_transformers import EmbedderOptions
from contract.profile import Profile
from deployments.imports import importing
from deployments.sentence_transformers.batches import Row, TextJob, in_batches
from deployments.sentence_transformers.embedder import NOT_READ
from deployments.text_pairs import Counted, NoRerankerError, Pairs, Scored, counted
from deployments.weights import fetched, loading

NO_OFFSETS = "the model's tokenizer does not say where a token ends"


class RerankingJob(TextJob[str, Scored]):
    """One request."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(pairs.documents)
        self.pairs = pairs


class Reranker:
    """A cross-encoder. Its tokenizer is not safe in several threads, so one does all work."""

    def __init__(self, model: ServedModel, options: EmbedderOptions) -> None:
        """Load the model. Raises PickleError, NoRerankerError."""
        self._options = options
        self._model = _loaded(model, options)
        self._limit = int(self._model.max_seq_length)
        self.batches_done = 0

    def profile(self) -> Profile:
        return Profile(
            engine="sentence-transformers",
            capabilities=frozenset({"rerank"}),
            lacks={} if self._model.tokenizer.is_fast else {"max_tokens_per_doc": NO_OFFSETS},
            limits={"context_length": self._limit},
        )

    def score(self, jobs: Sequence[RerankingJob]) -> list[Scored | ApiError]:
        """The scores of several requests, made together; or what is wrong with one. Blocks; one thread calls it.

        A request that nobody wants any more is left after the batch that is under way; what is returned for it holds
        nothing of use.
        """
        read = [counted(job.pairs, self._model.tokenizer, self._limit) for job in jobs]
        results = [
            one if isinstance(one, ApiError) else Scored([0.0] * len(one.tokens), sum(one.tokens)) for one in read
        ]
        for rows in in_batches(_rows(read), jobs, self._options.batch_size):
            pairs = [row.given for row in rows]
            scores = self._model.predict(pairs, batch_size=len(pairs), show_progress_bar=False)
            for row, score in zip(rows, scores.tolist(), strict=True):
                result = results[row.job]
                assert isinstance(result, Scored)  # noqa: S101 - a request with a fault has no rows
                result.scores[row.place] = score
            self.batches_done += 1
        return results


def _rows(read: list[Counted | ApiError]) -> list[Row]:
    return [
        Row(number, place, pair, tokens)
        for number, one in enumerate(read)
        if not isinstance(one, ApiError)
        for place, (pair, tokens) in enumerate(zip(one.pairs.each(), one.tokens, strict=True))
    ]


def _loaded(model: ServedModel, options: EmbedderOptions) -> Any:
    with importing():
        from sentence_transformers import CrossEncoder

    folder = fetched(model, without=NOT_READ)
    with loading(folder, model.allow) as use_safetensors:
        found = CrossEncoder(
            str(folder),
            device=options.device,
            trust_remote_code="custom_code" in model.allow,
            model_kwargs={"use_safetensors": use_safetensors},
        )
    config = getattr(found.model, "config", None)
    architectures = getattr(config, "architectures", None) or [""]
    if not architectures[0].endswith("ForSequenceClassification") or found.num_labels != 1:
        raise NoRerankerError(
            f"{model.id} is no cross-encoder with one label, so it cannot rerank: its architecture is "
            f"{architectures[0] or 'not known'}, with {found.num_labels} labels. Choose a model for sequence "
            "classification that has one; language models that were made rerankers run on vllm"
        )
    return found
