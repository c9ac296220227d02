"""The form of an API key: a prefix, a public id, a secret. A key is kept as its SHA-256 only."""

import hashlib
import re
import secrets
import string

KEY_PREFIX = "sk-portico-"
PUBLIC_ID_LENGTH = 12
SECRET_LENGTH = 43  # base62 characters, 256 bits
KEY_FORM = re.compile(rf"{KEY_PREFIX}([A-Za-z0-9]{{{PUBLIC_ID_LENGTH}}})-[A-Za-z0-9]{{{SECRET_LENGTH}}}")

BASE62 = string.digits + string.ascii_letters

# The key of `serve_configs/local.yaml`. Everybody knows it, so it is good on a loopback address only.
LOCAL_KEY = f"{KEY_PREFIX}local0000000-{'0' * SECRET_LENGTH}"


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
    """The SHA-256 of a whole key, as 64 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()
