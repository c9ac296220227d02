"""Carries a request to a model's deployment and the answer back. The carrier here is Serve's streaming handle."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from app.upstream.waking import Waker
from contract.errors import ApiError, upstream_error
from contract.protocol import RequestHead, ResponseHead, ResponseTail

ATTEMPTS = 2  # a replica that dies before its first byte gets the request tried once more, on another


class Answer(Protocol):
    """One answer under way. `close` is called on every path and cancels the work where it is not done."""

    head: ResponseHead
    slows_down: bool  # whether the replica waits where its pieces are not read

    @property
    def tail(self) -> ResponseTail | None:
        """There once the stream has ended as the protocol says."""
        ...

    def pieces(self) -> AsyncGenerator[bytes]:
        """The body of a streamed answer, each piece whole events. Raises ApiError where the replica is lost."""
        ...

    def close(self) -> None: ...


class Relay(Protocol):
    """A way to the model deployments."""

    async def send(
        self, model_id: str, request: RequestHead, body: bytes, timeout_s: float, waited_s: float = 0.0
    ) -> Answer:
        """Send one request and wait for the head of its answer. Of every limit `waited_s` is over already.

        Raises ApiError: what the engine reported, `overloaded`, `timeout`, or `upstream_error`.
        """
        ...


class Replicas(Protocol):
    """Whether models have replicas that run."""

    def is_up(self, model_id: str) -> bool:
        """As far as is known here, without asking."""
        ...

    async def check_whether_up(self, model_id: str) -> bool: ...


class HandleRelay:
    """The relay over Ray Serve's deployment handles.

    `wake_timeouts_s` says how long a request waits where no replica runs, for each model that may be scaled to zero.
    `slows_down` says whether the handles do: over gRPC a replica waits where its pieces are not read.
    """

    def __init__(
        self,
        handles: dict[str, Any],
        replicas: Replicas,
        wake_timeouts_s: dict[str, float],
        *,
        slows_down: bool = True,
    ) -> None:
        self._slows_down = slows_down
        self._handles = {
            model_id: handle.options(method_name="handle", stream=True) for model_id, handle in handles.items()
        }
        self._replicas = replicas
        self._wake_timeouts_s = wake_timeouts_s
        self._waker = Waker(handles)

    async def send(
        self, model_id: str, request: RequestHead, body: bytes, timeout_s: float, waited_s: float = 0.0
    ) -> "HandleAnswer":
        began = _now() - waited_s
        deadline = began + timeout_s
        handle = self._handles[model_id]
        if request.session:
            handle = handle.options(session_id=request.session)
        for attempt in range(1, ATTEMPTS + 1):
            answer = HandleAnswer(handle.remote(request, body), slows_down=self._slows_down)
            starting = asyncio.create_task(answer.start())
            try:
                deadline = await self._wait(model_id, starting, began, deadline, timeout_s)
                await starting
            except ReplicaLost:
                answer.close()
                if attempt == ATTEMPTS:
                    raise upstream_error() from None
                continue
            except BaseException:
                starting.add_done_callback(_forget)  # that it ends in an error now is no news
                starting.cancel()
                answer.close()
                raise
            return answer
        raise AssertionError("unreachable")

    async def _wait(
        self, model_id: str, starting: "asyncio.Task[None]", began: float, deadline: float, timeout_s: float
    ) -> float:
        """Wait until `starting` is done. Returns the deadline, which counts from the moment when the model is up.

        Raises ApiError `timeout` where a model that is up lets it pass, `model_starting` where none is up in time.
        """
        wake_timeout_s = self._wake_timeouts_s.get(model_id)
        if wake_timeout_s is None:
            pass  # such a model never sleeps: where no replica runs, one is being replaced
        elif self._replicas.is_up(model_id):
            await self._watch_over(model_id, starting, wake_timeout_s, deadline)
        else:
            await self._wake(model_id, starting, began + wake_timeout_s)
            deadline = _now() + timeout_s
        await _first_of(starting, until=deadline)
        if not starting.done():
            raise ApiError(
                "timeout", f"The model did not begin to answer within {timeout_s:g} s. Try a smaller request."
            )
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


def _still_starting() -> ApiError:
    return ApiError("model_starting", "This model was asleep and is starting. Retry after a pause.", param="model")


def _forget(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()


async def _first_of(*tasks: "asyncio.Task[Any]", until: float) -> None:
    """Wait for one of `tasks`, none of which is cancelled."""
    await asyncio.wait(tasks, timeout=max(0.0, until - _now()), return_when=asyncio.FIRST_COMPLETED)


class ReplicaLost(Exception):
    """The replica died, or became unreachable, before its first byte."""


class HandleAnswer:
    """An answer over a streaming handle."""

    head: ResponseHead

    def __init__(self, stream: Any, *, slows_down: bool) -> None:
        self.tail: ResponseTail | None = None
        self.slows_down = slows_down
        self._stream = stream
        self._ended = False

    async def start(self) -> None:
        """Wait for the head. Raises ApiError where it is an error, ReplicaLost where the replica is gone."""
        try:
            self.head = await anext(self._stream)
        except (RayError, BackPressureError, DeploymentUnavailableError, StopAsyncIteration) as error:
            self._ended = True  # nothing is left to cancel, and cancelling would raise the same once more
            raise _api_error(error) from None
        if self.head.error:
            self._ended = True
            raise ApiError.from_wire(self.head.error)
        self._ended = self.head.body is not None

    async def pieces(self) -> AsyncGenerator[bytes]:
        try:
            async for item in self._stream:
                if isinstance(item, ResponseTail):
                    self.tail, self._ended = item, True
                else:
                    yield item
        except RayError:
            self._ended = True
            raise upstream_error() from None

    def close(self) -> None:
        if not self._ended:
            self._ended = True
            self._stream.cancel()


def _api_error(error: Exception) -> ApiError | ReplicaLost:
    """Ray's failure before the first byte, as the rest of the gateway knows it."""
    if isinstance(error, BackPressureError):
        return ApiError("overloaded", "Every replica of this model is busy and its queue is full.")
    return ReplicaLost() if isinstance(error, RayActorError) else upstream_error()
