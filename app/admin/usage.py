"""What everybody has used, for operators."""

from typing import Any

from app.endpoints.usage import page, question_of
from app.usage.groups import GROUPS
from app.usage.ledger import UsageLedger
from contract.errors import ApiError

FILTERS = ("key", "team", "model")
NO_LEDGER = (
    "There is no usage ledger: `usage` in the configuration is disabled, or names no database that all nodes reach."
)


async def usage_page(ledger: UsageLedger | None, key_id: str, query: bytes) -> dict[str, Any]:
    """The answer to an operator who has that key. Raises ApiError."""
    if ledger is None:
        raise ApiError("conflict", NO_LEDGER)
    question = question_of(query, {}, GROUPS, FILTERS)
    return page(question, await ledger.ask(key_id, question), ledger.currency)
