"""Bearer tokens as the gateway knows them. Where no issuer is trusted there are none, and no cryptography is loaded."""

from collections.abc import Callable, Sequence
from typing import Protocol

from app.keys import KeyEntry
from app.tokens.issuer import TokenIssuer


class BearerTokens(Protocol):
    """What finds out who sends a token."""

    def token_in(self, authorization: str | None) -> str | None:
        """What may be a token in an Authorization header; None: whatever it is, no token is taken."""

    async def authenticate(self, token: str) -> KeyEntry:
        """Who sends `token`, which is of `token_in`. Raises ApiError."""

    async def follow(self) -> None:
        """Keep up with the keys of all issuers for as long as this process lives."""


class NoTokens:
    """Those of no issuer: all that is sent is an API key."""

    def token_in(self, authorization: str | None) -> None:  # noqa: ARG002
        return None

    async def authenticate(self, token: str) -> KeyEntry:
        raise NotImplementedError("there was no token")

    async def follow(self) -> None:
        """There are no keys."""


def tokens_of(issuers: Sequence[TokenIssuer], before: BearerTokens, count_failure: Callable[[], None]) -> BearerTokens:
    """The tokens of `issuers`, with the keys that are known `before`. Blocks: it may load cryptography, of 9 MB.

    `count_failure` is called for each fetch of keys that failed.
    """
    if not issuers:
        return NoTokens()
    from app.tokens.verifier import TokenVerifier  # noqa: PLC0415 - only where there are tokens

    return TokenVerifier(issuers, before if isinstance(before, TokenVerifier) else None, count_failure)
