"""The rows of one gateway replica on their way to the ledger: a request appends one, a loop sends them.

What was not acknowledged is sent again as it is, so that nothing is lost where the ledger or its database is away, as
far as memory reaches, and nothing is counted twice.
"""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Callable

from app.usage.link import Batch, LedgerLink, LedgerUnreachableError
from app.usage.question import Question, Sum
from app.usage.row import UsageRow

logger = logging.getLogger("portico.usage")

SEND_SECONDS = 0.5  # between the begins of two sends: what a replica that is killed loses, and no more
LIFE_SECONDS = 30.0  # between two signs of life of an idle replica
LONGEST_PAUSE_SECONDS = 5.0  # between two tries at a ledger that is away
AT_ONCE = 1_000  # rows of a batch
MOST_WAITING = 100_000  # rows, about half a kilobyte each; then the oldest are lost
CLOSE_PAUSE_SECONDS = 0.2
CLOSE_SECONDS = 3.0  # for the last rows, when the replica ends


class UsageSender:
    """For one event loop. Rows wait for as long as it has a link that does not take them."""

    def __init__(self, count_lost: Callable[[int], None], show_waiting: Callable[[int], None]) -> None:
        self._count_lost = count_lost
        self._show_waiting = show_waiting
        self._origin = uuid.uuid4().hex
        self._sent = 0  # rows of all batches so far
        self._rows: list[UsageRow] = []
        self._batch: Batch | None = None  # not acknowledged yet
        self._link: LedgerLink | None = None
        self._sending = asyncio.Lock()
        self._heard = -math.inf  # when the ledger last answered
        self._is_away = False
        self.add = self._rows.append  # on the way of a request: nothing else happens

    def follow(self, link: LedgerLink | None) -> None:
        """Send to this ledger from now on; None: to none, and what waits is dropped."""
        self._link, self._heard = link, -math.inf

    async def keep(self) -> None:
        """Send for as long as this process lives."""
        pause = SEND_SECONDS
        while True:
            await asyncio.sleep(pause)
            began = time.monotonic()
            await self.send()
            rest = SEND_SECONDS - (time.monotonic() - began)
            pause = min(max(2 * pause, SEND_SECONDS), LONGEST_PAUSE_SECONDS) if self._is_away else max(rest, 0)

    async def send(self) -> None:
        """Send all that waits now, or as much as the ledger takes.

        Rows that come meanwhile wait for the next time: sent at once, they would be a call and a transaction for a few.
        """
        async with self._sending:
            try:
                last = self._sent + len(self._rows)
                while (link := self._link) is not None and self._next_batch(last):
                    await self._deliver(link)
            except LedgerUnreachableError as error:
                if not self._is_away:
                    logger.warning("the usage ledger is away (%s); what is used waits in memory", error)
                self._is_away = True
            if self._link is None:
                self._rows.clear()
                self._batch = None
            self._lose_what_is_too_much()
            self._show_waiting(self._number_waiting())  # also where it is the same: Ray forgets what is not repeated

    async def close(self) -> None:
        """Send what waits, if that takes no longer than CLOSE_SECONDS. What cannot be sent is lost, and counted."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._number_waiting():
                    await self.send()
                    if self._is_away:
                        await asyncio.sleep(CLOSE_PAUSE_SECONDS)
        except TimeoutError:
            pass  # what is left is counted
        if left := self._number_waiting():
            self._lose(left, "the gateway replica ends")

    async def ask(self, question: Question) -> list[Sum]:
        """Raises LedgerUnreachableError, LedgerBusyError."""
        if self._link is None:
            raise LedgerUnreachableError("there is no ledger")
        return await self._link.ask(question)

    def _next_batch(self, last: int) -> bool:
        """Whether there is something to send, of rows up to number `last`."""
        if self._batch is None:
            number = min(AT_ONCE, last - self._sent)
            if not number and time.monotonic() - self._heard < LIFE_SECONDS:
                return False
            rows = self._rows[:number]
            del self._rows[:number]
            self._batch = Batch(self._origin, self._sent, rows)
            self._sent += len(rows)
        return True

    async def _deliver(self, link: LedgerLink) -> None:
        batch = self._batch
        if batch is None:
            return
        refused = await link.write(batch)
        self._batch, self._heard = None, time.monotonic()
        if refused:
            self._lose(refused, "the database does not take them")
        if self._is_away:
            logger.warning("the usage ledger is back")
        self._is_away = False

    def _lose_what_is_too_much(self) -> None:
        if (excess := len(self._rows) - MOST_WAITING) > 0:
            del self._rows[:excess]
            self._lose(excess, "the ledger has been away for too long")

    def _lose(self, number: int, why: str) -> None:
        logger.error("the usage of %d requests is lost: %s", number, why)
        self._count_lost(number)

    def _number_waiting(self) -> int:
        return len(self._rows) + (len(self._batch.rows) if self._batch is not None else 0)
