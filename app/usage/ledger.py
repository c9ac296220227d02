"""The ledger as one gateway has it: what its models cost, and who may ask how much at once."""

import asyncio
import time
from functools import partial

from app.config.service import Config
from app.telemetry.record import RequestRecord
from app.usage.link import LedgerBusyError, LedgerUnreachableError
from app.usage.question import Question, Sum
from app.usage.row import prices_of, row_of
from app.usage.sender import UsageSender
from contract.errors import ApiError

RETRY_SECONDS = 5


class UsageLedger:
    """Rows of settled requests go in, sums for keys come out."""

    def __init__(self, sender: UsageSender, config: Config) -> None:
        self.currency = config.usage.currency
        self._sender = sender
        self._prices = prices_of(config.models)
        self._asking: set[str] = set()  # keys

    def settle(self, record: RequestRecord) -> None:
        """Take over a request that has ended. Nothing waits for this."""
        self._sender.add(row_of(record, time.time(), self._prices))

    async def ask(self, key_id: str, question: Question) -> list[Sum]:
        """For a key, which asks one question at a time. Raises ApiError."""
        if key_id in self._asking:
            message = "This key's last question about its usage is not answered yet. Ask one at a time."
            raise ApiError("rate_limit_exceeded", message)
        self._asking.add(key_id)
        asking = asyncio.ensure_future(self._sender.ask(question))
        asking.add_done_callback(partial(self._has_asked, key_id))
        try:
            return await asyncio.shield(asking)  # a client that leaves ends no question: its key has one until then
        except LedgerBusyError:
            raise ApiError("overloaded", "Too many ask for their usage now. Retry after a pause.") from None
        except LedgerUnreachableError:
            message = "The usage ledger does not answer now; what is used is not lost. Retry after a pause."
            raise ApiError("overloaded", message, retry_after=RETRY_SECONDS) from None

    def _has_asked(self, key_id: str, asking: asyncio.Future[list[Sum]]) -> None:
        self._asking.discard(key_id)
        if not asking.cancelled():
            asking.exception()  # nobody may be there any more to be told
