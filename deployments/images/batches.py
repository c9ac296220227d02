"""Pictures that wait: those of one shape are made together, and what nobody waits for any more is not made."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from deployments.images.pipeline import DiffusionModel, Picture, Shape, Stopped

logger = logging.getLogger("portico.images")


class Seen(NamedTuple):
    """A picture, finished or not."""

    image: Any  # PIL; None where it must not be shown
    partial: int | None = None  # which of the unfinished ones; None: it is the finished one


class Job:
    """One picture that somebody waits for."""

    def __init__(self, shape: Shape, picture: Picture, partial_images: int = 0) -> None:
        self.shape = shape
        self.picture = picture
        self.wanted = True  # false once nobody waits for it; read by the thread that paints
        self.seen: asyncio.Queue[Seen | Exception] = asyncio.Queue()
        # After which steps an unfinished picture is shown: evenly through the work, never after the last step.
        shown = {shape.steps * one // (partial_images + 1) for one in range(1, partial_images + 1)}
        self.shown_after = sorted(step for step in shown if 0 < step < shape.steps)


class ImageBatches:
    """Feeds one model, a batch at a time, first come first served."""

    def __init__(self, model: DiffusionModel) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="painter")
        self._waiting: list[Job] = []
        self._painting: list[Job] = []
        self._working: asyncio.Task[None] | None = None
        self.steps_done = 0
        self.batches_begun = 0

    def submit(self, job: Job) -> None:
        """What becomes of the job arrives in `job.seen`."""
        self._waiting.append(job)
        if self._working is None:
            self._working = asyncio.create_task(self._work())

    def unfinished(self) -> int:
        """Pictures that are painted or wait for it."""
        return len(self._painting) + len(self._waiting)

    async def try_out(self) -> None:
        """Make a small picture for nobody, in its turn. Raises what the model raises."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._model.try_out)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next():
            self._painting = batch
            self.batches_begun += 1
            await loop.run_in_executor(self._thread, self._paint, batch, loop.call_soon_threadsafe)
            self._painting = []
        self._working = None

    def _next(self) -> list[Job]:
        """The first job and those behind it that have its shape."""
        wanted = [job for job in self._waiting if job.wanted]
        alike = [job for job in wanted if job.shape == wanted[0].shape]
        batch = alike[: self._model.options.max_batch_images]
        self._waiting = [job for job in wanted if job not in batch]
        return batch

    def _paint(self, batch: list[Job], call_soon: Callable[..., Any]) -> None:
        """Runs in the thread; tells each job how it went."""

        def tell(job: Job, what: Seen | Exception) -> None:
            call_soon(job.seen.put_nowait, what)

        def watch(done: int, preview: Callable[[], list[Any]]) -> None:
            self.steps_done += 1
            if not any(job.wanted for job in batch):
                raise Stopped
            if not any(done in job.shown_after and job.wanted for job in batch):
                return
            try:
                previews = self._judged(preview())
            except Exception:  # it is one client's, and the batch is everybody's
                logger.exception("an unfinished picture could not be shown")
                return
            for job, image in zip(batch, previews, strict=False):  # no previews: nothing to show
                if done in job.shown_after and image is not None:  # whether it is blocked, the finished one decides
                    tell(job, Seen(image, job.shown_after.index(done)))

        try:
            images = self._model.paint(batch[0].shape, [job.picture for job in batch], watch)
            for job, image in zip(batch, self._judged(images), strict=True):
                tell(job, Seen(image))
        except Stopped:
            pass
        except Exception as error:
            for job in batch:
                tell(job, error)

    def _judged(self, images: list[Any]) -> list[Any]:
        """The images, with None for what must not be shown."""
        blocked = self._model.blocked(images) if images else []
        return [None if bad else image for image, bad in zip(images, blocked, strict=True)]
