"""Jobs that wait for one thread, which does some of them together: what comes meanwhile waits for the next batch."""

import asyncio
import contextvars
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from contract.log_lines import current_request

Result = TypeVar("Result")


class Job(Generic[Result]):
    """What one client waits for: one result, or several after each other."""

    def __init__(self) -> None:
        self.wanted = True  # false once nobody waits for it; read by the thread
        self.results: asyncio.Queue[Result | Exception] = asyncio.Queue()
        self.request_id = current_request.get()

    async def result(self) -> Result:
        """The next result. Raises what was raised while the job was done."""
        result = await self.results.get()
        if isinstance(result, Exception):
            raise result
        return result


AnyJob = TypeVar("AnyJob", bound=Job[Any])
Deliver = Callable[[AnyJob, Any], None]


class Batches(ABC, Generic[AnyJob]):
    """One thread and the jobs that wait for it, first come first served."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: list[AnyJob] = []
        self._under_way: list[AnyJob] = []
        self._working: asyncio.Task[None] | None = None
        self.begun = 0  # batches
        self.ended = 0

    @abstractmethod
    def select(self, waiting: list[AnyJob]) -> list[AnyJob]:
        """Those of `waiting`, which is not empty, that are done together next; at least one."""

    @abstractmethod
    def run(self, batch: list[AnyJob], deliver: Deliver[AnyJob]) -> None:
        """Do a batch, in the thread, and deliver results to its jobs. What this raises is delivered to all of them."""

    def submit(self, job: AnyJob) -> None:
        """What becomes of the job arrives at `job.result()`."""
        self._waiting.append(job)
        if self._working is None:
            # It outlives the request of this job, so no line of it is that request's.
            self._working = asyncio.create_task(self._work(), context=contextvars.Context())

    def unfinished(self) -> int:
        """Jobs that are under way or wait."""
        return len(self._under_way) + len(self._waiting)

    def steps(self) -> int:
        """Counts on with whatever shows that the thread gets on."""
        return self.begun + self.ended

    def in_turn(self, call: Callable[[], Result]) -> Awaitable[Result]:
        """Do something else in the thread, between two batches."""
        return asyncio.get_running_loop().run_in_executor(self._thread, call)

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()

        def deliver(job: AnyJob, result: Any) -> None:
            loop.call_soon_threadsafe(job.results.put_nowait, result)

        while wanted := [job for job in self._waiting if job.wanted]:
            self._under_way = self.select(wanted)
            self._waiting = [job for job in wanted if job not in self._under_way]
            self.begun += 1
            await loop.run_in_executor(self._thread, self._do, self._under_way, deliver)
            self._under_way = []
        self._waiting = []
        self._working = None

    def _do(self, batch: list[AnyJob], deliver: Deliver[AnyJob]) -> None:
        current_request.set(" ".join(sorted({job.request_id for job in batch if job.request_id})) or None)
        try:
            self.run(batch, deliver)
        except Exception as error:
            for job in batch:
                deliver(job, error)
        finally:
            current_request.set(None)
            self.ended += 1
