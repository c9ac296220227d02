"""The local key, which everybody knows: good where the service listens on loopback, and its client is there too."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from app.keys.entry import KeyEntry
from app.keys.secret import LOCAL_KEY, hash_key
from contract.errors import ApiError

LOCAL_HASH = hash_key(LOCAL_KEY)


def is_local(key: KeyEntry) -> bool:
    return key.sha256 == LOCAL_HASH


@lru_cache(256)  # a key's clients are few, and this is asked for each request
def is_loopback(host: str | None) -> bool:
    """Whether only this machine reaches a server on `host`, or is at that address."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host or "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def refuse_elsewhere(key: KeyEntry, http_host: str | None, client: str | None) -> None:
    """Raises ApiError `invalid_api_key` for the local key of a client, or at a host, that is not on loopback."""
    if is_local(key) and not (is_loopback(http_host) and is_loopback(client)):
        message = "This API key is public, so it is good on a loopback address only. Use one of your own."
        raise ApiError("invalid_api_key", message)
