"""Where what is shown of models and keys comes from."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from app.budgets.account import BudgetStatus
from app.console.models import model_card
from app.keys import KeyEntry
from app.keys.entry import Scope
from app.telemetry.acceptance import Acceptance
from app.telemetry.loads import KeyUsage, ModelLoad
from app.upstream.registry import Model, Registry
from app.upstream.start import Start

logger = logging.getLogger("portico.console")
T = TypeVar("T")

ADMIN_ROUTES = ("/admin/keys", "/admin/usage")  # those of which the page has a view
KNOWN_SECONDS = 2.0  # for other processes to say what they know; a page that waits for longer looks broken


@dataclass(frozen=True)
class Sources:
    """Where what the page shows comes from. What fails is shown as not known."""

    authenticate: Callable[[str | None, str | None], Awaitable[KeyEntry]]  # (Authorization, address); raises ApiError
    budget_status: Callable[[KeyEntry], BudgetStatus]
    registry: Registry
    routes: list[str]  # the paths that models answer, without those that are disabled
    admin: bool  # whether there are routes for operators
    starts: Callable[[], Awaitable[dict[str, Start]]]
    acceptance: Callable[[], Awaitable[dict[str, Acceptance]]]
    loads: Callable[[], Awaitable[dict[str, ModelLoad]]]
    usage: Callable[[str], Awaitable[KeyUsage]]

    def routes_of(self, key: KeyEntry) -> list[str]:
        """The routes that the page may offer to who has `key`."""
        return [*self.routes, *(ADMIN_ROUTES if self.admin and Scope.ADMIN in key.scopes else ())]

    async def model_cards(self, models: Iterable[Model]) -> list[dict[str, Any]]:
        """What is known of each of `models` now."""
        starts, acceptance, loads = await asyncio.gather(
            self.known(self.starts()), self.known(self.acceptance()), self.known(self.loads())
        )
        return [model_card(one, (starts or {}).get(one.entry.id), acceptance, loads) for one in models]

    async def known(self, found: Awaitable[T]) -> T | None:
        """What another process reports, or None where it does not, or not soon."""
        try:
            async with asyncio.timeout(KNOWN_SECONDS):
                return await found
        except Exception:
            logger.warning("a part of the page is not known now", exc_info=True)
            return None
