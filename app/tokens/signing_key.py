"""One public key of an issuer, usable with the algorithms of its own kind and with no other."""

from collections.abc import Iterable, Sequence
from typing import Any

import jwt
from jwt.exceptions import PyJWTError

MAX_KEYS = 100
MAX_RSA_BITS = 8192  # a signature costs the square of it
# (kty, crv) -> the algorithms that such a key may be used with. No symmetric key is there.
ALGORITHMS: dict[tuple[str, str | None], Sequence[str]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
MEMBERS = ("kid", "kty", "crv", "alg", "n", "e", "x", "y")  # all that matters of one
JWS = jwt.PyJWS()


class SigningKey:
    """A key of a JSON Web Key Set. Two are the same only if they are one object."""

    def __init__(self, content: tuple[str | None, ...], by_algorithm: dict[str, jwt.PyJWK]) -> None:
        self.content = content  # its MEMBERS
        self.id = content[0]
        self.by_algorithm = by_algorithm

    def has_signed(self, token: str, algorithm: str) -> bool:
        """Whether the signature of `token` is this key's. `algorithm` is one of `by_algorithm`."""
        try:
            JWS.decode_complete(token, self.by_algorithm[algorithm], [algorithm])
        except PyJWTError:
            return False
        return True


def read_keys(written: Iterable[Any], before: Iterable[SigningKey] = ()) -> list[SigningKey]:
    """Those of the keys of a set that can verify signatures. One that was there `before` stays the same object."""
    known = {key.content: key for key in before}
    contents = [_content(one) for one, _ in zip(written, range(MAX_KEYS), strict=False)]
    keys = [known.get(content) or _read(content) for content in contents if content is not None]
    return [key for key in keys if key is not None]


def _content(written: Any) -> tuple[str | None, ...] | None:
    """The members of a public key for signatures; None where it is none."""
    if not isinstance(written, dict) or "d" in written:  # a private key that everybody can read
        return None
    operations = written.get("key_ops")
    if written.get("use") not in (None, "sig") or (isinstance(operations, list) and "verify" not in operations):
        return None
    found = tuple(written.get(name) for name in MEMBERS)
    return found if all(one is None or isinstance(one, str) for one in found) else None


def _read(content: tuple[str | None, ...]) -> SigningKey | None:
    written = {name: value for name, value in zip(MEMBERS, content, strict=True) if value is not None}
    legal = ALGORITHMS.get((written.get("kty", ""), written.get("crv")), ())
    try:
        by_algorithm = {one: jwt.PyJWK(written, one) for one in legal if written.get("alg") in (None, one)}
    except PyJWTError:
        return None
    if not by_algorithm or any(map(_is_weak_or_slow, by_algorithm.values())):
        return None
    return SigningKey(content, by_algorithm)


def _is_weak_or_slow(key: jwt.PyJWK) -> bool:
    return bool(key.Algorithm.check_key_length(key.key)) or getattr(key.key, "key_size", 0) > MAX_RSA_BITS
