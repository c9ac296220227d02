"""Carries requests over Ray Serve's streaming handle, bytes and all: the simple way, and what the other is held to."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from app.upstream.answer import Ending, Pieces
from app.upstream.serve_failure import failure_of
from app.upstream.stream_buffer import filled
from contract.errors import ApiError, upstream_error
from contract.protocol import RequestHead, ResponseHead, ResponseTail


class HandleCarrier:
    """`slows_down` says whether a replica waits where its pieces are not read: over gRPC it does, over actors not."""

    def __init__(self, handles: dict[str, Any], buffer_bytes: int, *, slows_down: bool = True) -> None:
        self._handles = {
            model_id: handle.options(method_name="handle", stream=True) for model_id, handle in handles.items()
        }
        self._buffer_bytes = buffer_bytes
        self._slows_down = slows_down

    def attempt(self, model_id: str, request: RequestHead, body: bytes) -> "HandleAnswer":
        handle = self._handles[model_id]
        if request.session:
            handle = handle.options(session_id=request.session)
        return HandleAnswer(handle.remote(request, body), self._buffer_bytes, slows_down=self._slows_down)

    def refuse_waiting(self, model_id: str, error: ApiError) -> None:
        """None: of a call over the handle nobody can say whether a replica has it."""


class HandleAnswer:
    """An answer over a streaming handle."""

    head: ResponseHead

    def __init__(self, stream: Any, buffer_bytes: int, *, slows_down: bool) -> None:
        self.tail: ResponseTail | None = None
        self._stream = stream
        self._buffer_bytes = buffer_bytes
        self._slows_down = slows_down
        self._ending = Ending()

    async def start(self) -> None:
        try:
            self.head = await anext(self._stream)
        except (RayError, BackPressureError, DeploymentUnavailableError, StopAsyncIteration) as error:
            self._ending.comes()  # nothing is left to cancel, and cancelling would raise the same once more
            raise failure_of(error) from None
        if self.head.error:
            self._ending.comes()
            raise ApiError.from_wire(self.head.error)
        if self.head.body is not None:
            self._ending.comes()

    def reading(self, give_up: Callable[[], None]) -> AbstractAsyncContextManager[Pieces]:
        return filled(self.pieces(), self._buffer_bytes, None if self._slows_down else give_up)

    def when_ended(self, callback: Callable[[], None]) -> None:
        self._ending.call(callback)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Raises ApiError where the replica is lost."""
        try:
            async for item in self._stream:
                if isinstance(item, ResponseTail):
                    self.tail = item
                else:
                    yield item
        except RayError:
            self._ending.comes()
            raise upstream_error() from None
        self._ending.comes()

    def close(self) -> None:
        if not self._ending.has_come:
            self._ending.comes()
            self._stream.cancel()
