"""How vLLM answers on one route: its errors, its bodies and its events, turned into the contract's."""

from typing import Any, Protocol

from contract.errors import ApiError
from contract.protocol import RequestHead


class EventStream(Protocol):
    """Turns the events of one streamed answer. It is fed bytes as they come and keeps what it learns."""

    usage: dict[str, Any] | None
    error: ApiError | None  # set once the engine has reported one; nothing after it counts
    done: bool  # the engine said that the stream ended well

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes of the engine's stream; return the whole events that are ready to leave."""
        ...


class Errors(Protocol):
    """One engine's errors, as the contract's."""

    def of_answer(self, status: int, body: bytes) -> ApiError:
        """For an error that the engine answered."""
        ...

    def of_exception(self, error: Exception) -> ApiError:
        """For an exception that the engine's application let through."""
        ...


def data_of(event: bytes) -> bytes:
    """The data of one whole event; empty where it has none."""
    return event.partition(b"data: ")[2].rstrip()


class Dialect(Protocol):
    """One route as vLLM answers it."""

    @property
    def errors(self) -> Errors: ...

    def question(self, body: bytes, request: RequestHead) -> bytes:
        """The gateway's body as vLLM takes it."""
        ...

    def body(self, body: bytes, request: RequestHead) -> tuple[bytes, dict[str, Any] | None]:
        """The contract's form of a complete answer, and its usage."""
        ...

    def stream(self, request: RequestHead) -> EventStream: ...
