"""Who sends a token, as the rest of the service knows who sends a request: a key entry, which nobody keeps."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated

from pydantic import StringConstraints

from app.keys.entry import KeyEntry
from app.keys.secret import BASE62
from app.tokens.issuer import Rule

PREFIX = "sub-"  # no key's public id has a dash, so no subject, whatever its name, can have that of a key
ID_LENGTH = 20  # base62 characters, 119 bits
MAX_NAME_LENGTH = 100


class Subject(KeyEntry):
    """One token's subject, with what its rule gives it. Its `sha256` is the token's."""

    id: Annotated[str, StringConstraints(pattern=rf"^{PREFIX}[A-Za-z0-9]{{{ID_LENGTH}}}$")]


def subject_id(issuer: str, subject: str) -> str:
    """The same for all tokens of a subject, on every replica; what the subject is called cannot be read from it."""
    number = int.from_bytes(hashlib.sha256(f"{issuer}\0{subject}".encode(errors="surrogatepass")).digest())
    digits = []
    for _ in range(ID_LENGTH):
        number, digit = divmod(number, len(BASE62))
        digits.append(BASE62[digit])
    return PREFIX + "".join(digits)


def subject_under(rule: Rule, issuer: str, subject: str, sha256: str, ends: float) -> Subject:
    """`ends` is the Unix time at which the token does."""
    return Subject(
        id=subject_id(issuer, subject),
        sha256=sha256,
        name="".join(c if c.isprintable() else "?" for c in subject[:MAX_NAME_LENGTH]),
        expires=datetime.fromtimestamp(ends, UTC),
        **{name: getattr(rule, name) for name in Rule.model_fields.keys() - {"claim", "value"}},
    )
