"""What may happen to a key: it is made, changed, rotated, revoked. These are pure changes of `{id: entry}`."""

from datetime import datetime, timedelta
from typing import Any

import pydantic

from app.keys.entry import KeyEntry, State
from app.keys.secret import hash_key, new_key, public_id
from contract.fields import explain

Keys = dict[str, KeyEntry]
INHERITED = {"name", "pipelines", "scopes", "team", "budget", "weight"}  # by the key that takes another's place


class KeyRefusal(Exception):
    """What is wanted of a key cannot be done. The message has the reason, and what can be done instead."""


class UnknownKey(KeyRefusal):
    """There is no such key."""


def make(keys: Keys, now: datetime, **facts: Any) -> tuple[str, KeyEntry]:
    """A new key with `facts`, which are fields of its entry: the secret, and the entry now in `keys`.

    Raises ConfigError where a fact is illegal, KeyRefusal where it would expire before it begins.
    """
    secret = new_key()
    try:
        entry = KeyEntry(id=public_id(secret), sha256=hash_key(secret), created=now, **facts)
    except pydantic.ValidationError as error:
        raise explain(error, "the key") from None
    if entry.state_at(now) is not State.ACTIVE:
        raise KeyRefusal("The key would expire at once. Its end must lie in the future.")
    keys[entry.id] = entry
    return secret, entry


def rotate(keys: Keys, key_id: str, grace: timedelta, expires: datetime | None, now: datetime) -> tuple[str, KeyEntry]:
    """A new key in place of another, with its name, scopes, team, budget and weight; the old one expires after `grace`.

    Where `expires` is None the new key lives as long as the old one was made for. Raises KeyRefusal.
    """
    old = find(keys, key_id)
    if old.state_at(now) is State.REVOKED:
        raise KeyRefusal(f"The key {old.id} is revoked. Make a new one.")
    if heirs := [key.id for key in keys.values() if key.rotated_from == old.id]:
        raise KeyRefusal(f"The key {old.id} was rotated already. Its successor is {heirs[0]}: rotate that one.")
    kept = old.model_dump(include=INHERITED)
    made = make(keys, now, expires=expires or _same_lifetime(old, now), rotated_from=old.id, **kept)
    end = now + grace
    keys[old.id] = old.model_copy(update={"expires": min(end, old.expires or end)})
    return made


def update(keys: Keys, key_id: str, now: datetime, **facts: Any) -> KeyEntry:
    """The entry of the key with `facts` in place of those before; what a budget does not name stays.

    Raises ConfigError where a fact is illegal, KeyRefusal where the key is revoked or would expire at once.
    """
    old = find(keys, key_id)
    if old.revoked is not None:
        raise KeyRefusal(f"The key {old.id} is revoked. Make a new one.")
    if "budget" in facts:
        facts["budget"] = old.budget.model_dump() | facts["budget"]
    try:
        entry = KeyEntry.model_validate(old.model_dump() | facts)
    except pydantic.ValidationError as error:
        raise explain(error, "the key", KeyEntry) from None
    if entry.state_at(now) is not State.ACTIVE and entry.expires != old.expires:
        raise KeyRefusal("The key would expire at once. Revoke it, or name an end in the future.")
    keys[key_id] = entry
    return entry


def revoke(keys: Keys, key_id: str, now: datetime) -> KeyEntry:
    """The entry of the key, now revoked. Raises KeyRefusal."""
    entry = find(keys, key_id)
    if entry.revoked is not None:
        raise KeyRefusal(f"The key {entry.id} is already revoked, since {entry.revoked:%Y-%m-%d %H:%M} UTC.")
    keys[entry.id] = entry.model_copy(update={"revoked": now})
    return keys[entry.id]


def find(keys: Keys, key_id: str) -> KeyEntry:
    """Raises UnknownKey, which does not repeat what may be a whole key."""
    if key_id not in keys:
        raise UnknownKey("There is no key of this id. The list of keys has the ids.")
    return keys[key_id]


def _same_lifetime(old: KeyEntry, now: datetime) -> datetime | None:
    """When a key that begins now expires, if it lives as long as `old` was made for."""
    if old.expires is None or old.created is None:
        return old.expires
    try:
        return now + (old.expires - old.created)
    except OverflowError:  # after the year 9999
        return old.expires
