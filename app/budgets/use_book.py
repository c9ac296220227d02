"""What one gateway replica knows of the use of each month: what it has settled itself, and what all others have."""

import asyncio
import logging
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence

from app.budgets.messages import AccountUse, CountedUse, UseReport
from app.budgets.shards import place_of
from app.budgets.store_link import StoreUnreachableError, UseLink
from app.budgets.use import Month, Use, drop_old

logger = logging.getLogger("portico.budgets")

EXCHANGE_SECONDS = 1.0


class UseBook:
    """Counts by itself, and is told once a second what the budget stores have counted of all replicas.

    Without stores it is alone: what it counts is all there is.
    """

    def __init__(self, links: Sequence[UseLink] = ()) -> None:
        """`links` are in the order of the shards."""
        self.replica = uuid.uuid4().hex
        self._links = links
        self._followed: frozenset[str] = frozenset()
        self._own: defaultdict[str, dict[Month, Use]] = defaultdict(dict)
        self._counted: dict[str, CountedUse] = {}
        self._exchanging, self._learning = asyncio.Lock(), asyncio.Lock()
        self._unreachable: set[int] = set()  # places of shards

    def follow(self, accounts: Iterable[str], links: Sequence[UseLink]) -> None:
        """Know the use of these from now on. Who has other stores than before tells them the same."""
        self._followed, self._links = frozenset(accounts), links

    def count(self, account: str, month: Month, use: Use) -> None:
        months = self._own[account]
        months[month] = months.get(month, Use()).plus(use)
        drop_old(months)

    def total(self, account: str, month: Month) -> Use:
        """What all replicas have used, as far as is known here."""
        own, counted = self._own[account].get(month, Use()), self._counted.get(account)
        if counted is None:
            return own
        return counted.total.get(month, Use()).plus(own.beyond(counted.own.get(month, Use())))

    def is_known(self, account: str) -> bool:
        """Whether a store has told what others have used; true where there is none, or it cannot be reached."""
        place = place_of(account, len(self._links)) if self._links else 0
        return not self._links or account in self._counted or place in self._unreachable

    async def learn(self, account: str) -> None:
        """Be told of an account, where that is still to be: all who wait learn by the same exchange."""
        async with self._learning:
            if not self.is_known(account):
                await self.exchange()

    async def exchange(self) -> None:
        """Tell the stores, and be told. One that cannot be reached raises nothing."""
        async with self._exchanging:
            links = self._links
            await asyncio.gather(*(self._exchange(place, len(links), link) for place, link in enumerate(links)))

    async def keep(self) -> None:
        """Exchange for as long as this process lives."""
        while True:
            await self.exchange()
            await asyncio.sleep(EXCHANGE_SECONDS)

    async def _exchange(self, place: int, places: int, link: UseLink) -> None:
        accounts = [one for one in self._followed | self._own.keys() if place_of(one, places) == place]
        if not accounts:
            return
        sent = {one: AccountUse(dict(self._own.get(one, {})), self._counted.get(one)) for one in accounts}
        try:
            reply = await link.use(UseReport(self.replica, sent))
        except StoreUnreachableError:
            if place not in self._unreachable:
                self._unreachable.add(place)
                logger.warning("a budget store does not answer; monthly quotas go on with what is known here")
            return
        self._unreachable.discard(place)
        for account, total in reply.totals.items():
            self._counted[account] = CountedUse(sent[account].own, total)
