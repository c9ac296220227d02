"""The keys of one issuer as they are known now: fetched beside the requests, kept through an outage, for a time."""

import asyncio
import logging
import math
import time
from collections.abc import Callable

from app.tokens.issuer import TokenIssuer
from app.tokens.issuer_fault import IssuerFault
from app.tokens.jwks import JwksSource
from app.tokens.signing_key import SigningKey, read_keys

logger = logging.getLogger("portico.tokens")

LEAST_GAP_S = 3.0  # between the starts of two fetches, whatever tokens come
RETRY_SECONDS = 10.0  # after a fetch that failed
WAIT_SECONDS = 5.0  # of a request, for a key that is not known yet
MAX_WAITING = 100  # such requests at a time; who has no key must not fill the gateway


class IssuerKeys:
    """Known keys, and who waits for newer ones.

    `count_failure` is called for each fetch that failed; `clock` gives seconds that only grow.
    """

    def __init__(
        self, entry: TokenIssuer, count_failure: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count_failure = count_failure
        self._clock = clock
        self._keys: list[SigningKey] = []
        self._as_of = -math.inf  # the start of the fetch that they are from
        self._began = -math.inf  # the start of the last fetch
        self._fetch: asyncio.Task[None] | None = None
        self._fault: str | None = None  # of the last fetch
        self._waiting = 0
        self.use(entry)

    def use(self, entry: TokenIssuer) -> None:
        """Go on under these settings, which name the same source."""
        self.source = JwksSource.of(entry)
        self._refresh_s, self._max_age_s = entry.jwks_refresh_s, entry.jwks_max_age_s

    @property
    def fault(self) -> str | None:
        """Why the last fetch failed; None where it did not."""
        return self._fault

    @property
    def are_fresh(self) -> bool:
        """Whether there are keys, young enough to be believed."""
        return self._clock() - self._as_of <= self._max_age_s

    def has(self, key: SigningKey) -> bool:
        """Whether `key` is still the issuer's."""
        return self.are_fresh and key in self._keys

    def candidates(self, key_id: str | None, algorithm: str) -> list[SigningKey]:
        """The keys that may have signed a token. One that names no key is legal where it can be only one."""
        usable = [key for key in self._keys if algorithm in key.by_algorithm] if self.are_fresh else []
        if key_id is not None:
            return [key for key in usable if key.id == key_id]
        return usable if len(usable) == 1 else []

    async def renew(self) -> None:
        """Wait until the keys are those of a fetch that began after now. Raises IssuerFault where that is not soon.

        All who wait share a fetch, and it begins no sooner than the gap after the one before. While the issuer is
        known to fail nobody waits: `follow` tries it again.
        """
        arrived = self._clock()
        if self._fault is not None:
            raise IssuerFault(self._fault)
        if self._waiting >= MAX_WAITING:
            raise IssuerFault(f"{MAX_WAITING} requests wait for keys of {self.source.issuer} already")
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while self._as_of < arrived:
                    await self._next_fetch()
        except TimeoutError:
            raise IssuerFault(f"{self.source.issuer} has given no new keys within {WAIT_SECONDS:g} s") from None
        finally:
            self._waiting -= 1

    async def follow(self) -> None:
        """Keep the keys up to date for as long as this process lives."""
        while True:
            failed = False
            try:
                await self._next_fetch()
            except IssuerFault:
                failed = True
            await asyncio.sleep(RETRY_SECONDS if failed else self._refresh_s)

    async def _next_fetch(self) -> None:
        """The fetch under way or, where there is none, one that begins as soon as it may. Raises IssuerFault."""
        if self._fetch is None or self._fetch.done():
            self._fetch = asyncio.create_task(self._fetch_when_due(), name=f"keys of {self.source.issuer}")
        await asyncio.shield(self._fetch)
        if self._fault is not None:
            raise IssuerFault(self._fault)

    async def _fetch_when_due(self) -> None:
        await asyncio.sleep(max(0.0, self._began + LEAST_GAP_S - self._clock()))
        self._began = began = self._clock()
        try:
            written = await self.source.fetch()
        except IssuerFault as fault:
            self._count_failure()
            self._report(str(fault))
        else:
            self._keys = await asyncio.to_thread(read_keys, written, self._keys)
            self._as_of = began
            self._report(None)
            if not self._keys:
                logger.warning("%s has no key that can verify a token; none of its tokens is good", self.source.issuer)

    def _report(self, fault: str | None) -> None:
        """Once, when it begins or changes, and when it is over."""
        if fault is not None and fault != self._fault:
            known = "the keys fetched before stay good for a time" if self.are_fresh else "its tokens get 503"
            logger.warning("the keys of a token issuer cannot be fetched; %s. %s", known, fault)
        elif fault is None and self._fault is not None:
            logger.warning("the keys of %s could be fetched again", self.source.issuer)
        self._fault = fault
