"""Rendezvous hashing: to which of several a thing falls, the same in every process.

One that comes or goes moves only the things that fall to it.
"""

import hashlib


def weight(thing: object, one: object) -> bytes:
    """Of `one` for `thing`: it falls to the one with the highest."""
    return hashlib.blake2b(f"{thing}:{one}".encode(), digest_size=8).digest()
