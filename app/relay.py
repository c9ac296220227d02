"""Carries a request to a model's deployment and the answer back. The carrier here is Serve's streaming handle."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from app.errors import ApiError, upstream_error
from deployments.protocol import RequestHead, ResponseHead, ResponseTail

ATTEMPTS = 2  # a replica that dies before its first byte gets the request tried once more, on another


class Answer(Protocol):
    """One answer under way. `close` is called on every path and cancels the work where it is not done."""

    head: ResponseHead
    tail: ResponseTail | None  # there once the stream has ended as the protocol says

    def pieces(self) -> AsyncGenerator[bytes]:
        """The body of a streamed answer, each piece whole events. Raises ApiError where the replica is lost."""
        ...

    def close(self) -> None: ...


class Relay(Protocol):
    """A way to the model deployments."""

    async def send(self, model_id: str, request: RequestHead, body: bytes, timeout_s: float) -> Answer:
        """Send one request and wait for the head of its answer.

        Raises ApiError: what the engine reported, `overloaded`, `timeout`, or `upstream_error`.
        """
        ...


class HandleRelay:
    """The relay over Ray Serve's deployment handles."""

    def __init__(self, handles: dict[str, Any]) -> None:
        self._handles = {
            model_id: handle.options(method_name="handle", stream=True) for model_id, handle in handles.items()
        }

    async def send(self, model_id: str, request: RequestHead, body: bytes, timeout_s: float) -> "HandleAnswer":
        deadline = asyncio.get_running_loop().time() + timeout_s
        for attempt in range(1, ATTEMPTS + 1):
            answer = HandleAnswer(self._handles[model_id].remote(request, body))
            try:
                async with asyncio.timeout_at(deadline):
                    await answer.start()
            except TimeoutError:
                answer.close()
                raise ApiError(
                    "timeout", f"The model did not begin to answer within {timeout_s:g} s. Try a smaller request."
                ) from None
            except ReplicaLost:
                answer.close()
                if attempt == ATTEMPTS:
                    raise upstream_error() from None
                continue
            except BaseException:
                answer.close()
                raise
            return answer
        raise AssertionError("unreachable")


class ReplicaLost(Exception):
    """The replica died, or became unreachable, before its first byte."""


class HandleAnswer:
    """An answer over a streaming handle."""

    head: ResponseHead

    def __init__(self, stream: Any) -> None:
        self.tail: ResponseTail | None = None
        self._stream = stream
        self._ended = False

    async def start(self) -> None:
        """Wait for the head. Raises ApiError where it is an error, ReplicaLost where the replica is gone."""
        try:
            self.head = await anext(self._stream)
        except (RayError, BackPressureError, DeploymentUnavailableError, StopAsyncIteration) as error:
            self._ended = True  # nothing is left to cancel, and cancelling would raise the same once more
            raise _told(error) from None
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


def _told(error: Exception) -> ApiError | ReplicaLost:
    """Ray's failure before the first byte, as the rest of the gateway knows it."""
    if isinstance(error, BackPressureError):
        return ApiError("overloaded", "Every replica of this model is busy and its queue is full.")
    return ReplicaLost() if isinstance(error, RayActorError) else upstream_error()
