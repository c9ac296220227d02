"""Sends a request to a model and waits for its answer to begin: tried again, woken for, and not for ever."""

import asyncio
from typing import Any, Protocol

from app.upstream.carrier import Attempt, Carrier
from app.upstream.serve_failure import ReplicaLost
from app.upstream.waking import Waker
from contract.errors import ApiError, upstream_error
from contract.protocol import RequestHead

ATTEMPTS = 2  # a replica that dies before its first byte gets the request tried once more, on another


class Replicas(Protocol):
    """Whether models have replicas that run."""

    def is_up(self, model_id: str) -> bool:
        """As far as is known here, without asking."""
        ...

    async def check_whether_up(self, model_id: str) -> bool: ...


class Relay:
    """The way to the models.

    `wake_timeouts_s` says how long a request waits where no replica runs, for each model that may be scaled to zero.
    """

    def __init__(
        self, carrier: Carrier, handles: dict[str, Any], replicas: Replicas, wake_timeouts_s: dict[str, float]
    ) -> None:
        """`handles` are Serve's, of the models."""
        self._carrier = carrier
        self._replicas = replicas
        self._wake_timeouts_s = wake_timeouts_s
        self._waker = Waker(handles)

    async def send(
        self, model_id: str, request: RequestHead, body: bytes, timeout_s: float, waited_s: float = 0.0
    ) -> Attempt:
        """Send one request and wait for the head of its answer. Of every limit `waited_s` is over already.

        Raises ApiError: what the engine reported, `overloaded`, `timeout`, or `upstream_error`.
        """
        began = _now() - waited_s
        deadline = began + timeout_s
        for attempt in range(1, ATTEMPTS + 1):
            answer = self._carrier.attempt(model_id, request, body)
            try:
                if model_id in self._wake_timeouts_s:
                    deadline = await self._start_or_wake(model_id, answer, began, deadline, timeout_s)
                else:  # it never sleeps: where no replica runs, one is being replaced
                    await _start(answer, deadline)
            except ReplicaLost:
                answer.close()
                if attempt == ATTEMPTS:
                    raise upstream_error() from None
                continue
            except TimeoutError:
                answer.close()
                raise ApiError(
                    "timeout", f"The model did not begin to answer within {timeout_s:g} s. Try a smaller request."
                ) from None
            except BaseException:
                answer.close()
                raise
            return answer
        raise AssertionError("unreachable")

    async def _start_or_wake(
        self, model_id: str, answer: Attempt, began: float, deadline: float, timeout_s: float
    ) -> float:
        """Start `answer` of a model that may be asleep. Returns the deadline, which counts from when the model is up.

        Raises TimeoutError where a model that is up lets it pass, ApiError `model_starting` where none is up in time.
        """
        wake_timeout_s = self._wake_timeouts_s[model_id]
        starting = asyncio.create_task(answer.start())
        try:
            if self._replicas.is_up(model_id):
                await self._watch_over(model_id, starting, wake_timeout_s, deadline)
            else:
                await self._wake(model_id, starting, began + wake_timeout_s)
                deadline = _now() + timeout_s
            async with asyncio.timeout_at(deadline):
                await starting
        except BaseException:
            starting.add_done_callback(_forget)  # that it ends in an error now is no news
            starting.cancel()
            raise
        return deadline

    async def _wake(self, model_id: str, starting: "asyncio.Task[None]", wake_deadline: float) -> None:
        """Wait until a sleeping model is up, or has answered already. Raises ApiError `model_starting`."""
        waking = self._waker.wake(model_id)
        await _first_of(starting, waking, until=wake_deadline)
        if waking.done() and waking.result():
            return
        await _first_of(starting, until=wake_deadline)
        if not starting.done() and not await self._replicas.check_whether_up(model_id):
            raise _still_starting()

    async def _watch_over(
        self, model_id: str, starting: "asyncio.Task[None]", wake_timeout_s: float, deadline: float
    ) -> None:
        """Wait a while on a model that is up as far as is known here: it may have gone to sleep since."""
        wake_deadline = _now() + wake_timeout_s
        if wake_deadline >= deadline:
            return
        await _first_of(starting, until=wake_deadline)
        if not starting.done() and not await self._replicas.check_whether_up(model_id):
            self._waker.wake(model_id)
            raise _still_starting()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _start(answer: Attempt, deadline: float) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout_at(deadline):
        await answer.start()


def _still_starting() -> ApiError:
    return ApiError("model_starting", "This model was asleep and is starting. Retry after a pause.", param="model")


def _forget(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()


async def _first_of(*tasks: "asyncio.Task[Any]", until: float) -> None:
    """Wait for one of `tasks`, none of which is cancelled."""
    await asyncio.wait(tasks, timeout=max(0.0, until - _now()), return_when=asyncio.FIRST_COMPLETED)
