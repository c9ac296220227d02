"""What counts as a step of each kind of engine that works in threads: all that shows that the thread gets on."""

import asyncio
import threading
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest

from deployments.batches import Batches, Deliver, Job
from deployments.speech.audio_encoding import Samples
from deployments.speech.synthesizer import Synthesizer, Utterance
from deployments.speech.worker import SynthesisWorker
from deployments.transcriptions.engine import Workers


class Held(Batches[Job[str]]):
    """Ends a batch when it is let go."""

    def __init__(self) -> None:
        super().__init__("held")
        self.go = threading.Event()

    def select(self, waiting: list[Job[str]]) -> list[Job[str]]:
        return waiting[:1]

    def run(self, batch: list[Job[str]], deliver: Deliver[Job[str]]) -> None:
        self.go.wait(10)
        raise RuntimeError("it failed")


async def test_a_batch_is_a_step_when_it_begins_and_when_it_ends_however_it_ends() -> None:
    batches, job = Held(), Job[str]()
    batches.submit(job)
    await asyncio.sleep(0.05)
    assert (batches.steps(), batches.unfinished()) == (1, 1)
    batches.go.set()
    with pytest.raises(RuntimeError):
        await job.result()
    await asyncio.sleep(0.05)
    assert (batches.steps(), batches.unfinished()) == (2, 0)


class Pieces(Synthesizer):
    """Three pieces of audio for every sentence, with a question before each."""

    sample_rate = 24_000
    voices = ["ada"]  # noqa: RUF012

    def __init__(self, *_: Any) -> None:
        pass

    def synthesize(self, utterance: Utterance, cancelled: Callable[[], bool]) -> Generator[Samples]:
        for _ in range(3):
            assert not cancelled()
            yield np.zeros(10, np.float32)


async def test_a_sentence_is_a_step_and_each_of_its_pieces_and_each_question_whether_to_go_on() -> None:
    worker = await asyncio.to_thread(SynthesisWorker, Pieces)
    assert len([piece async for piece in worker.synthesize(Utterance("Hello.", "ada"))]) == 3
    assert worker.steps == 1 + 3 + 3
    worker.close()


async def test_each_step_of_a_transcription_is_one_also_where_it_fails() -> None:
    workers = Workers(1)

    def fail() -> None:
        raise RuntimeError("it failed")

    for step in (int, fail, int):
        await asyncio.wait([asyncio.wrap_future(workers.submit(step))])
    assert (workers.done, len(workers.under_way)) == (3, 0)
    workers.shutdown()
