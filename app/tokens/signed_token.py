"""A token as it was sent, in JWS compact serialization (RFC 7515): read, its header checked, its signature not yet."""

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, Never

from jwt.utils import base64url_decode

from app.tokens.refusal import refused

MAX_LENGTH = 8192  # servers and proxies take 16 KiB for all headers of a request
MAX_HEADER_BYTES = 2048
MAX_KEY_ID_LENGTH = 256
# Three parts; five would be encrypted. The last may be empty in one that claims to need no signature.
FORM = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){2,4}")
TYPES = ("jwt", "at+jwt")  # others, such as a logout token, are signed with the same keys and are for another use

MALFORMED = "it is malformed. Send all of it, and nothing beside it."


class SignedToken(NamedTuple):
    """What a token says of itself. Nothing of it is to be believed before its signature is verified."""

    text: str
    algorithm: str
    key_id: str | None
    claims: dict[str, Any]


def looks_like(text: str) -> bool:
    """Whether `text` has the form of a token; no API key has it."""
    return FORM.fullmatch(text) is not None


def read(text: str) -> SignedToken:
    """Raises ApiError for what is no token, or says of itself what is not accepted here.

    Whatever a header says of keys (`jku`, `jwk`, `x5u`, `x5c`) is not looked at: keys are the issuer's only.
    """
    parts = text.split(".")
    if len(parts) == 5:
        raise refused("it is encrypted. Send a token that is signed only.")
    if len(parts) != 3:
        raise refused(MALFORMED)
    header = _object_in(parts[0], MAX_HEADER_BYTES)
    _check_header(header)
    return SignedToken(text, header["alg"], header.get("kid"), _object_in(parts[1], MAX_LENGTH))


def _check_header(header: dict[str, Any]) -> None:
    if "crit" in header:
        raise refused("its header demands an extension (`crit`), and none is supported.")
    if "enc" in header or "cty" in header or header.get("b64") is False:
        raise refused("its content is encrypted, another token, or detached. Send a plain signed token.")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in TYPES:
        raise refused("its `typ` is that of a token for another use. Send an access token or an ID token.")
    key_id = header.get("kid")
    if key_id is not None and not (isinstance(key_id, str) and 0 < len(key_id) <= MAX_KEY_ID_LENGTH):
        raise refused(f"its `kid` must be a text of 1 to {MAX_KEY_ID_LENGTH} characters.")
    if not isinstance(header.get("alg"), str):
        raise refused("its header does not say the algorithm (`alg`).")


def _object_in(part: str, max_bytes: int) -> dict[str, Any]:
    """The JSON object in a part of a token."""
    try:
        content = base64url_decode(part)
        if len(content) > max_bytes:
            raise refused("its header is longer than is legal.")
        found = json.loads(content, object_pairs_hook=_without_twice, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise refused(MALFORMED) from None
    if not isinstance(found, dict):
        raise refused(MALFORMED)
    return found


def _without_twice(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Of a member that is there twice, who reads it elsewhere could take the other one."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise refused("a member of its JSON is there twice.")
        found[name] = value
    return found


def _no_constant(_: str) -> Never:
    """NaN and the infinities are no JSON."""
    raise ValueError
