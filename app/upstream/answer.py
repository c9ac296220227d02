"""An answer of a model under way, whatever carries it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from contract.protocol import ResponseHead, ResponseTail


class Pieces(Protocol):
    """The pieces of a stream that have come and are not taken."""

    @property
    def ended(self) -> bool:
        """Whether no more will come."""
        ...

    def take(self) -> bytes:
        """The next ones, as many as one write should hold; empty where there is none now."""
        ...

    async def wait(self) -> None:
        """Wait for a piece, for the end, or for `wake`."""
        ...

    def wake(self) -> None: ...


class Answer(Protocol):
    """One answer. `close` is called on every path and cancels the work where it is not done."""

    head: ResponseHead
    tail: ResponseTail | None  # there once the stream has ended as the protocol says

    def reading(self, give_up: Callable[[], None]) -> AbstractAsyncContextManager[Pieces]:
        """The body of a streamed answer. `give_up` is called where who reads it is too far behind an engine that
        nothing slows down."""
        ...

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the replica has done with the request, or is lost; at once where it has."""
        ...

    def close(self) -> None: ...


class Ending:
    """Tells one listener, once, that an answer has ended."""

    def __init__(self) -> None:
        self.has_come = False
        self._callback: Callable[[], None] | None = None

    def call(self, callback: Callable[[], None]) -> None:
        if self.has_come:
            callback()
        else:
            self._callback = callback

    def comes(self) -> None:
        self.has_come = True
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
