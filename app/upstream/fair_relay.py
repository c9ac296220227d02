"""The relay behind fair queues: a request goes to its model once its key has a place there."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing

from app.keys import KeyEntry
from app.upstream.fair_queue import Place
from app.upstream.model_queues import ModelQueues
from app.upstream.relay import Answer, Relay
from contract.errors import ApiError
from contract.protocol import RequestHead, ResponseTail


class FairRelay:
    """Sends each request over `relay`, and gives its place back once the replica has done with it."""

    def __init__(self, relay: Relay, queues: ModelQueues) -> None:
        self._relay = relay
        self._queues = queues

    def open_request(self, key: KeyEntry) -> AbstractContextManager[None]:
        """A request of `key`, from before its body is read until it has ended. Raises ApiError `overloaded`."""
        return self._queues.open_requests.one_more(key.id, key.weight)

    async def send(
        self, key: KeyEntry, model_id: str, request: RequestHead, body: bytes, timeout_s: float
    ) -> "PlacedAnswer":
        """As Relay.send for a request of `key`; `timeout_s` includes the time in the queue."""
        place = await self._queues[model_id].take(key.id, key.weight, timeout_s)
        try:
            answer = await self._relay.send(model_id, request, body, timeout_s, place.waited_s)
        except BaseException:
            place.release()
            raise
        return PlacedAnswer(answer, place)


class PlacedAnswer:
    """An answer and its place. What the client still has to read of one that has ended needs none."""

    def __init__(self, answer: Answer, place: Place) -> None:
        self.head, self.slows_down = answer.head, answer.slows_down
        self._answer = answer
        self._place = place
        if answer.head.body is not None:
            place.release()

    @property
    def tail(self) -> ResponseTail | None:
        return self._answer.tail

    async def pieces(self) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(self._answer.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
        except ApiError:  # the replica is lost
            self._place.release()
            raise
        self._place.release()

    def close(self) -> None:
        self._place.release()
        self._answer.close()
