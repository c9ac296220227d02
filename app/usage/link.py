"""A way to the ledger."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from app.usage.question import Question, Sum
from app.usage.row import UsageRow


class LedgerUnreachableError(Exception):
    """The ledger or its database does not answer. Rows that were sent may have been written."""


class LedgerBusyError(Exception):
    """The ledger answers as many questions as it may at once."""


class Batch(NamedTuple):
    """Rows of one gateway replica, in the order in which it has numbered them, from `first` on."""

    origin: str
    first: int
    rows: Sequence[UsageRow]  # none: a sign of life


class LedgerLink(Protocol):
    """Every call may raise LedgerUnreachableError, and takes a bounded time."""

    async def write(self, batch: Batch) -> int:
        """Returns, once all others are safe, how many rows the database will never take."""
        ...

    async def ask(self, question: Question) -> list[Sum]:
        """Raises LedgerBusyError."""
        ...
