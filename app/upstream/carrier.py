"""What brings one request to a replica that Serve chooses, and the answer back."""

from typing import Protocol

from app.upstream.answer import Answer
from contract.errors import ApiError
from contract.protocol import RequestHead


class Attempt(Answer, Protocol):
    """An answer that may not have begun yet."""

    async def start(self) -> None:
        """Wait for the head. Raises ApiError where it is an error, ReplicaLost where the replica is gone."""
        ...


class Carrier(Protocol):
    """A way to the replicas of the models."""

    def attempt(self, model_id: str, request: RequestHead, body: bytes) -> Attempt:
        """Send one request, once."""
        ...

    def refuse_waiting(self, model_id: str, error: ApiError) -> None:
        """Have the requests that still wait for a replica of the model raise `error`, as far as one can tell them."""
        ...
