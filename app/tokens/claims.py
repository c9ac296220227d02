"""The check of a token's registered claims (RFC 7519): whose it is, for whom it is, from when and until when."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.tokens.issuer import TokenIssuer, claim_of
from app.tokens.refusal import refused

LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
MAX_SUBJECT_LENGTH = 512


def check_times(claims: Mapping[str, Any], skew_s: float, now: float) -> float:
    """The Unix time at which the token ends. Raises ApiError where it has ended, or has not begun."""
    ends = _moment(claims, "exp")
    if ends is None:
        raise refused("it never expires (it has no `exp`). Get one that does.")
    if now >= ends + skew_s:
        raise refused(f"it expired {now - ends:.0f} seconds ago. Get a new one.")
    for name, word in (("nbf", "is good only in"), ("iat", "was issued in the future, in")):
        begins = _moment(claims, name)
        if begins is not None and now < begins - skew_s:
            raise refused(f"it {word} {begins - now:.0f} seconds (`{name}`). Check the clock of its issuer.")
    return ends


def check_audience(claims: Mapping[str, Any], issuer: TokenIssuer) -> None:
    """Raises ApiError for a token that is made for another service."""
    found = claims.get("aud")
    audiences = found if isinstance(found, list) else [found]
    if not any(one in issuer.audiences for one in audiences if isinstance(one, str)):
        raise refused(f"it is made for another audience (`aud`). Get one for {' or '.join(issuer.audiences)}.")


def subject_of(claims: Mapping[str, Any], issuer: TokenIssuer) -> str:
    """Raises ApiError for a token that does not say whose it is."""
    subject = claim_of(claims, issuer.subject_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH:
        legal = f"a text of 1 to {MAX_SUBJECT_LENGTH} characters"
        raise refused(f"it does not say whose it is: its claim `{issuer.subject_claim}` must be {legal}.")
    return subject


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    """A claim that is a Unix time. Raises ApiError where it is none."""
    found = claims.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= LATEST:
        raise refused(f"its `{name}` must be a Unix time in seconds.")
    return float(found)
