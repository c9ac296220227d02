"""API keys: their form, and the check of an Authorization header. Keys are known by their SHA-256 only."""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable

from app.config import KeyEntry
from app.errors import ApiError

KEY_PREFIX = "sk-portico-"
PUBLIC_ID_LENGTH = 12
SECRET_LENGTH = 43  # base62 characters, 256 bits
KEY_FORM = re.compile(rf"{KEY_PREFIX}([A-Za-z0-9]{{{PUBLIC_ID_LENGTH}}})-[A-Za-z0-9]{{{SECRET_LENGTH}}}")

# The key of `serve_configs/local.yaml`. Everybody knows it, so it is good on a loopback address only.
LOCAL_KEY = f"{KEY_PREFIX}local0000000-{'0' * SECRET_LENGTH}"

BASE62 = string.digits + string.ascii_letters
MAX_HEADER_LENGTH = 512
NO_HASH = "0" * 64


def new_key() -> str:
    """A fresh key: the prefix, a public id, a secret."""
    public_id, secret = (
        "".join(secrets.choice(BASE62) for _ in range(length)) for length in (PUBLIC_ID_LENGTH, SECRET_LENGTH)
    )
    return f"{KEY_PREFIX}{public_id}-{secret}"


def public_id(key: str) -> str:
    """The part of a well-formed key that may be shown and logged."""
    return key.removeprefix(KEY_PREFIX)[:PUBLIC_ID_LENGTH]


def hash_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class KeyRing:
    """The keys that are good now."""

    def __init__(self, entries: Iterable[KeyEntry]) -> None:
        self._entries = {entry.id: entry for entry in entries}

    def authenticate(self, authorization: str | None) -> KeyEntry:
        """The key of an Authorization header. Raises ApiError `invalid_api_key`, which never repeats the header.

        An unknown public id costs the same as a wrong secret: one hash, one comparison in constant time.
        """
        if authorization is None:
            raise _refused("No API key was sent. Send it in a header `Authorization: Bearer KEY`.")
        scheme, _, key = authorization[:MAX_HEADER_LENGTH].partition(" ")
        form = KEY_FORM.fullmatch(key.strip())
        if scheme.lower() != "bearer" or form is None:
            raise _refused(f"The Authorization header is malformed. It must be `Bearer {KEY_PREFIX}...`.")
        entry = self._entries.get(form[1])
        same = hmac.compare_digest(hash_key(form[0]), entry.sha256 if entry else NO_HASH)
        if entry is None or not same:
            raise _refused("This API key is not valid here. Check it, or ask the operator for a new one.")
        return entry


def _refused(message: str) -> ApiError:
    return ApiError("invalid_api_key", message)
