"""The ledger as one gateway has it: what its models cost, and who may ask how much at once."""

import time

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
        try:
            return await self._sender.ask(question)
        except LedgerBusyError:
            raise ApiError("overloaded", "Too many ask for their usage now. Retry after a pause.") from None
        except LedgerUnreachableError:
            message = "The usage ledger does not answer now; what is used is not lost. Retry after a pause."
            raise ApiError("overloaded", message, retry_after=RETRY_SECONDS) from None
        finally:
            self._asking.discard(key_id)
