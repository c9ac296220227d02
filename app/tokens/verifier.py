"""The check of a bearer token: who sends it, and what its issuer's rules let them do."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from app.keys import KeyEntry
from app.tokens.claims import check_audience, check_times, subject_of
from app.tokens.issuer import TokenIssuer
from app.tokens.issuer_fault import IssuerFault
from app.tokens.issuer_keys import IssuerKeys
from app.tokens.jwks import JwksSource
from app.tokens.refusal import refused, unavailable
from app.tokens.signed_token import MAX_LENGTH, SignedToken, looks_like, read
from app.tokens.signing_key import SigningKey
from app.tokens.subject import subject_under
from contract.errors import ApiError

REMEMBERED = 4096  # verified tokens
RETRY_AFTER_SECONDS = 5
NO_RULE = (
    "This token is valid, but its claims match none of the rules that this service has for its issuer, so it may use "
    "no model. Ask the operator for a rule."
)


class Verified(NamedTuple):
    """A token that was found good, for as long as it and the key that signed it are."""

    entry: KeyEntry
    until: float
    key: SigningKey
    keys: IssuerKeys


class TokenVerifier:
    """Verifies the tokens of some issuers. `now` gives the Unix time.

    It goes on with the keys that the verifier `before` has of the same sources. `count_failure` is called for each
    fetch of keys that failed.
    """

    def __init__(
        self,
        issuers: Iterable[TokenIssuer] = (),
        before: "TokenVerifier | None" = None,
        count_failure: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._issuers = {entry.issuer: entry for entry in issuers}
        known = {} if before is None else {keys.source: keys for keys in before.keys.values()}
        self.keys: dict[str, IssuerKeys] = {
            name: _go_on(known, entry, count_failure) for name, entry in self._issuers.items()
        }
        self._verified: OrderedDict[str, Verified] = OrderedDict()
        self._now = now

    def token_in(self, authorization: str | None) -> str | None:
        """What may be a token in an Authorization header; None: no token, or no issuer is trusted here."""
        if not self._issuers or authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        token = token.strip(" ")
        if scheme.lower() != "bearer" or "." not in token:
            return None
        return token if len(token) > MAX_LENGTH or looks_like(token) else None

    async def authenticate(self, token: str) -> KeyEntry:
        """Who sends `token`, which is of `token_in`.

        Raises ApiError: 401 for a token that is not good, 403 where no rule matches it, 503 where its issuer's keys
        are not known. It waits only for a key that is not known yet. No message repeats any of the token.
        """
        if len(token) > MAX_LENGTH:
            raise refused(f"it is longer than {MAX_LENGTH} characters. Get one with fewer claims.")
        digest = hashlib.sha256(token.encode()).hexdigest()
        known = self._verified.get(digest)
        if known is not None and self._now() < known.until and known.keys.has(known.key):
            self._verified.move_to_end(digest)
            return known.entry
        return (await self._verify(digest, read(token))).entry

    async def follow(self) -> None:
        """Keep up with the keys of all issuers for as long as this process lives."""
        async with asyncio.TaskGroup() as group:
            for keys in self.keys.values():
                group.create_task(keys.follow())

    async def _verify(self, digest: str, token: SignedToken) -> Verified:
        self._verified.pop(digest, None)
        issuer = self._issuer_of(token)
        keys = self.keys[issuer.issuer]
        key = _signer(keys, token) or await _newer_signer(keys, token)
        ends = check_times(token.claims, issuer.clock_skew_s, self._now())
        check_audience(token.claims, issuer)
        subject = subject_of(token.claims, issuer)
        rule = issuer.rule_for(token.claims)
        if rule is None:
            raise ApiError("model_not_allowed", NO_RULE)
        entry = subject_under(rule, issuer.issuer, subject, digest, ends)
        found = self._verified[digest] = Verified(entry, ends + issuer.clock_skew_s, key, keys)
        if len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
        return found

    def _issuer_of(self, token: SignedToken) -> TokenIssuer:
        """Whose keys are to verify it; that it is this issuer's is known only then."""
        name = token.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise refused("its issuer (`iss`) is none that this service trusts. Use an API key, or another issuer.")
        if token.algorithm not in issuer.algorithms:
            legal = ", ".join(issuer.algorithms)
            raise refused(f"its algorithm (`alg`) is not one that is accepted of its issuer. Legal are {legal}.")
        return issuer


def _go_on(known: dict[JwksSource, IssuerKeys], entry: TokenIssuer, count_failure: Callable[[], None]) -> IssuerKeys:
    keys = known.get(JwksSource.of(entry))
    if keys is None:
        return IssuerKeys(entry, count_failure)
    keys.use(entry)
    return keys


def _signer(keys: IssuerKeys, token: SignedToken) -> SigningKey | None:
    """The key that has signed it; None where that is not known to have been one of the issuer's.

    Raises ApiError where the key that it names has not signed it.
    """
    candidates = keys.candidates(token.key_id, token.algorithm)
    for key in candidates:
        if key.has_signed(token.text, token.algorithm):
            return key
    if candidates and token.key_id is not None:
        raise refused("its signature is wrong. Get it again from its issuer.")
    return None


async def _newer_signer(keys: IssuerKeys, token: SignedToken) -> SigningKey:
    """The same among keys that are fetched now: the issuer may have changed them."""
    try:
        await keys.renew()
    except IssuerFault:
        raise unavailable(RETRY_AFTER_SECONDS) from None
    key = _signer(keys, token)
    if key is None:
        raise refused("none of its issuer's keys has signed it, or it names none (`kid`). Get a new one.")
    return key
