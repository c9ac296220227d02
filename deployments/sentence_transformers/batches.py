"""Requests of texts that wait for one model, some of them together, and the rows in which it takes them."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from contract.errors import ApiError
from contract.profile import Profile
from deployments.batches import Batches, Deliver, Job
from deployments.replica import Engine

MAX_INPUTS_PER_BATCH = 256

Result = TypeVar("Result")
Text = TypeVar("Text")


class TextJob(Job[Result | ApiError], Generic[Text, Result]):
    """One request that somebody waits for; what is wrong with it is its result too."""

    def __init__(self, inputs: list[Text]) -> None:
        super().__init__()
        self.inputs = inputs


AnyTextJob = TypeVar("AnyTextJob", bound=TextJob[Any, Any])


class Row(NamedTuple):
    """One input of one job."""

    job: int
    place: int  # among the inputs of that job
    given: Any
    tokens: int

    @property
    def is_tokens(self) -> bool:
        return isinstance(self.given, list)


def in_batches(rows: list[Row], jobs: Sequence[Job[Any]], size: int) -> Iterator[list[Row]]:
    """Rows of like lengths, so that few are padded, for as long as somebody wants them; texts and token ids apart."""
    rows.sort(key=lambda row: (row.is_tokens, -row.tokens))
    while rows := [row for row in rows if jobs[row.job].wanted]:
        batch = [row for row in rows[:size] if row.is_tokens is rows[0].is_tokens]
        yield batch
        rows = rows[len(batch) :]


class TextModel(Protocol):
    """A model, and how many batches it has done."""

    batches_done: int

    def profile(self) -> Profile: ...


class TextBatches(Batches[AnyTextJob]):
    """Feeds one model, a batch at a time."""

    def __init__(self, model: TextModel) -> None:
        super().__init__("sentence-transformers")
        self._model = model

    @abstractmethod
    def results(self, batch: list[AnyTextJob]) -> list[Any]:
        """What the model makes of several requests, or what is wrong with one. Blocks; in the thread."""

    def select(self, waiting: list[AnyTextJob]) -> list[AnyTextJob]:
        """As many as have room in one batch; a request of any size may be one alone."""
        batch, inputs = waiting[:1], len(waiting[0].inputs)
        for job in waiting[1:]:
            inputs += len(job.inputs)
            if inputs > MAX_INPUTS_PER_BATCH:
                break
            batch.append(job)
        return batch

    def steps(self) -> int:
        """The model's own batches, beside those of requests."""
        return super().steps() + self._model.batches_done

    def run(self, batch: list[AnyTextJob], deliver: Deliver[AnyTextJob]) -> None:
        for job, result in zip(batch, self.results(batch), strict=True):
            deliver(job, result)


class TextEngine(Engine):
    """A model and the requests that wait for it."""

    def __init__(self, model_id: str, model: TextModel, batches: TextBatches[Any]) -> None:
        self._model_id = model_id
        self._model = model
        self._batches = batches

    def profile(self) -> Profile:
        return self._model.profile()

    def unfinished(self) -> int:
        """Requests that the model works on or that wait for it."""
        return self._batches.unfinished()

    def steps(self) -> int:
        return self._batches.steps()

    def close(self) -> None:
        self._batches.close()

    async def result(self, job: TextJob[Any, Result]) -> Result:
        """Raises ApiError where the inputs are at fault. Cancelled, it ends the work after a batch of the model's."""
        self._batches.submit(job)
        try:
            result = await job.result()
        finally:
            job.wanted = False
        if isinstance(result, ApiError):
            raise result
        return result
