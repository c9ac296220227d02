"""The relay behind fair queues: a request goes to its model once its key has a place there."""

from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing

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

    async def send(
        self, key: KeyEntry, model_id: str, request: RequestHead, body: bytes, timeout_s: float
    ) -> "PlacedAnswer":
        """As Relay.send for a request of `key`; `timeout_s` includes the time in the queue."""
        with ExitStack() as stack:
            stack.enter_context(self._queues.open_requests.one_more(key.id, key.weight))
            place = await self._queues[model_id].take(key.id, key.weight, timeout_s)
            stack.callback(place.release)
            answer = await self._relay.send(model_id, request, body, timeout_s, place.waited_s)
            return PlacedAnswer(answer, place, stack.pop_all())


class PlacedAnswer:
    """An answer and its place. What the client still has to read of one that has ended needs none."""

    def __init__(self, answer: Answer, place: Place, owed: ExitStack) -> None:
        """`owed` is what goes back when the client has read all of it; that includes the place."""
        self.head, self.slows_down = answer.head, answer.slows_down
        self._answer = answer
        self._place, self._owed = place, owed
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
        self._answer.close()
        self._owed.close()
