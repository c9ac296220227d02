"""Images that wait: those of one shape are generated together, and what nobody waits for any more is not generated."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from deployments.batches import Batches, Deliver, Job
from deployments.images.pipeline import DiffusionModel, Prompt, Shape, Stopped

logger = logging.getLogger("portico.images")


class Image(NamedTuple):
    """An image, finished or not."""

    image: Any  # PIL; None where the safety checker blocked it
    partial: int | None = None  # which of the unfinished ones; None: it is the finished one


class ImageJob(Job[Image]):
    """One image that somebody waits for: its unfinished ones, then itself."""

    def __init__(self, shape: Shape, prompt: Prompt, partial_images: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.prompt = prompt
        # After which steps an unfinished image is sent: evenly through the work, never after the last step.
        steps = {shape.steps * one // (partial_images + 1) for one in range(1, partial_images + 1)}
        self.partial_steps = sorted(step for step in steps if 0 < step < shape.steps)

    def goes_with(self, other: "ImageJob") -> bool:
        """Whether one run of the pipeline may make both. What it looks at, it looks at for each image of the run."""
        alike = self.shape == other.shape
        return alike and (self.shape.beginning != "references" or self.prompt.given is other.prompt.given)


class ImageBatches(Batches[ImageJob]):
    """Feeds one model, a batch at a time."""

    def __init__(self, model: DiffusionModel) -> None:
        super().__init__("diffusers")
        self._model = model
        self.steps_done = 0

    def select(self, waiting: list[ImageJob]) -> list[ImageJob]:
        """The first job and those behind it that go with it."""
        alike = [job for job in waiting if job.goes_with(waiting[0])]
        return alike[: self._model.options.max_batch_images]

    def steps(self) -> int:
        """Those of all images, beside the batches."""
        return super().steps() + self.steps_done

    def run(self, batch: list[ImageJob], deliver: Deliver[ImageJob]) -> None:
        def watch(done: int, preview: Callable[[], list[Any]]) -> None:
            self.steps_done += 1
            if not any(job.wanted for job in batch):
                raise Stopped
            if not any(done in job.partial_steps and job.wanted for job in batch):
                return
            try:
                previews = self._checked(preview())
            except Exception:  # it is one client's, and the batch is everybody's
                logger.exception("an unfinished image could not be made")
                return
            for job, image in zip(batch, previews, strict=False):  # no previews: nothing to send
                if done in job.partial_steps and image is not None:  # whether it is blocked, the finished one decides
                    deliver(job, Image(image, job.partial_steps.index(done)))

        try:
            images = self._model.generate(batch[0].shape, [job.prompt for job in batch], watch)
        except Stopped:
            return
        for job, image in zip(batch, self._checked(images), strict=True):
            deliver(job, Image(image))

    def _checked(self, images: list[Any]) -> list[Any]:
        """The images, with None for those that the safety checker blocks."""
        blocked = self._model.blocked(images) if images else []
        return [None if bad else image for image, bad in zip(images, blocked, strict=True)]
