"""The relay behind fair queues: a request goes to its model once its key has a place there."""

import time
from contextlib import AbstractContextManager
from typing import Protocol

from app.keys import KeyEntry
from app.upstream.answer import Answer
from app.upstream.model_queues import ModelQueues
from contract.protocol import RequestHead


class Sender(Protocol):
    """What sends a request: `app.upstream.relay`."""

    async def send(
        self, model_id: str, request: RequestHead, body: bytes, timeout_s: float, waited_s: float = 0.0
    ) -> Answer: ...


class Times(Protocol):
    """Where it is written how long a request was where. Seconds; None: it did not get there, or is there yet."""

    queue_s: float | None
    engine_s: float | None


class FairRelay:
    """Sends each request over `relay`, and gives its place back once the replica has done with it."""

    def __init__(self, relay: Sender, queues: ModelQueues) -> None:
        self._relay = relay
        self._queues = queues

    def open_request(self, key: KeyEntry) -> AbstractContextManager[None]:
        """A request of `key`, from before its body is read until it has ended. Raises ApiError `overloaded`."""
        return self._queues.open_requests.one_more(key.id, key.weight)

    async def send(
        self, key: KeyEntry, model_id: str, request: RequestHead, body: bytes, timeout_s: float, *, times: Times
    ) -> Answer:
        """As Relay.send for a request of `key`; `timeout_s` includes the time in the queue."""
        began = time.perf_counter()
        try:
            place = await self._queues[model_id].take(key.id, key.weight, timeout_s)
        finally:
            has_place = time.perf_counter()
            times.queue_s = has_place - began

        request = request._replace(queue_ms=times.queue_s * 1000)

        def ended() -> None:
            times.engine_s = time.perf_counter() - has_place
            place.release()

        try:
            answer = await self._relay.send(model_id, request, body, timeout_s, place.waited_s)
        except BaseException:
            ended()
            raise
        answer.when_ended(ended)  # what the client still has to read of it needs no place
        return answer
