"""Messages to a budget store, many in a call: a call costs far more than what the store does with a message."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from app.budgets.messages import Message, Reply
from app.budgets.store_link import StoreUnreachableError

# Takes a bounded time, and may raise StoreUnreachableError. Returns the replies in the order of the messages; None
# where the store failed at one.
Deliver = Callable[[Sequence[Message]], Awaitable[Sequence[Reply | None]]]

MAX_MESSAGES = 1000  # of a call, so that the store's loop is free again within some milliseconds


class Batches:
    """One call at a time. What comes meanwhile waits, and goes together with the next one."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._waiting: list[tuple[Message, asyncio.Future[Any]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> Any:
        """The store's reply. Raises StoreUnreachableError; then the message may have arrived."""
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((message, reply))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await reply

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_MESSAGES], self._waiting[MAX_MESSAGES:]
                await self._send_batch(batch)
        finally:  # also where Ray raises CancelledError for a lost call, though nobody has cancelled this
            self._sending = None
            waiting, self._waiting = self._waiting, []
            _fail(waiting, StoreUnreachableError())

    async def _send_batch(self, batch: list[tuple[Message, asyncio.Future[Any]]]) -> None:
        try:
            replies = await self._deliver([message for message, _ in batch])
            for (_, future), reply in zip(batch, replies, strict=True):
                if future.done():  # who waited was cancelled
                    continue
                if reply is None:
                    future.set_exception(StoreUnreachableError())
                else:
                    future.set_result(reply)
        except Exception as error:  # who waits is told as well, and need not wait for another call to fail
            waiting, self._waiting = self._waiting, []
            _fail(batch + waiting, error)
        finally:
            _fail(batch, StoreUnreachableError())


def _fail(batch: list[tuple[Message, asyncio.Future[Any]]], error: Exception) -> None:
    """Tell all who still wait for a reply."""
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
