"""Changes of keys by operators, in the key file."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from app.admin.key_requests import Rotation
from app.audit.change import Who
from app.audit.keys import changing_keys
from app.audit.trail import Trail
from app.background.thread_calls import ThreadCalls
from app.config.service import Config
from app.keys import KeyRing, lifecycle, moments
from app.keys.entry import KeyEntry
from app.keys.file import KeyFile
from app.keys.lifecycle import KeyRefusal, Keys, UnknownKey
from app.keys.report import public
from contract.errors import ApiError
from contract.fields import ConfigError

logger = logging.getLogger("portico.admin")

CHANGE_SECONDS = 10.0  # for a change of the file, which waits for others'
IN_CONFIGURATION = "This key stands in the configuration, which no route changes. Change it there and deploy it."
NO_FILE = (
    "The configuration names no `key_file`, so keys can be changed in the configuration only. Name one, and deploy it."
)

NOT_WRITABLE = (
    "The key file cannot be changed from here, as where it is mounted from a Kubernetes Secret. The gateway's log has "
    "the reason. Change the file at its source."
)


class KeyChanges:
    """The keys of one configuration, listed and changed; the audit log says by whom. A secret is returned once."""

    def __init__(self, config: Config, ring: KeyRing) -> None:
        path = config.key_path()
        self._file = None if path is None else KeyFile(path)
        self._trail = Trail(config.audit_path())
        self._fixed = {entry.id: entry for entry in config.keys}
        self._config = config
        self._ring = ring
        self._calls = ThreadCalls("a change of the key file", CHANGE_SECONDS)

    def every(self) -> list[dict[str, Any]]:
        """All keys as this replica knows them."""
        now = moments.now()
        return [self._card(entry, now) for entry in self._ring.entries()]

    def one(self, key_id: str) -> dict[str, Any]:
        """Raises ApiError."""
        found = next((entry for entry in self._ring.entries() if entry.id == key_id), None)
        if found is None:
            raise _unknown()
        return self._card(found, moments.now())

    async def create(self, who: Who, facts: dict[str, Any]) -> dict[str, Any]:
        """Make a key; its secret is the field `key`. Raises ApiError."""
        self._check(facts)

        def made(keys: Keys) -> dict[str, Any]:
            secret, entry = lifecycle.make(keys, now := _now(), **facts)
            return self._card(entry, now) | {"key": secret}

        return await self._change(who, made, new=True)

    async def update(self, who: Who, key_id: str, facts: dict[str, Any]) -> dict[str, Any]:
        """Put `facts` in place of those that a key has. Raises ApiError."""
        self._check(facts)

        def updated(keys: Keys) -> dict[str, Any]:
            return self._card(lifecycle.update(keys, key_id, now := _now(), **facts), now)

        return await self._change(who, updated, key_id)

    async def rotate(self, who: Who, key_id: str, rotation: Rotation) -> dict[str, Any]:
        """Make a key in place of another; its secret is the field `key`, the other is `old`. Raises ApiError."""

        def rotated(keys: Keys) -> dict[str, Any]:
            grace, now = timedelta(seconds=rotation.grace_s), _now()
            secret, entry = lifecycle.rotate(keys, key_id, grace, rotation.expires, now)
            return self._card(entry, now) | {"key": secret, "old": self._card(keys[key_id], now)}

        return await self._change(who, rotated, key_id)

    async def revoke(self, who: Who, key_id: str) -> dict[str, Any]:
        """End a key. Raises ApiError."""

        def revoked(keys: Keys) -> dict[str, Any]:
            return self._card(lifecycle.revoke(keys, key_id, now := _now()), now)

        return await self._change(who, revoked, key_id)

    def _check(self, facts: dict[str, Any]) -> None:
        if fault := self._config.fault_of_key(facts):
            raise ApiError("invalid_value", fault.message, param=fault.field)

    async def _change(
        self, who: Who, change: Callable[[Keys], dict[str, Any]], key_id: str | None = None, *, new: bool = False
    ) -> dict[str, Any]:
        if key_id in self._fixed:
            raise ApiError("conflict", IN_CONFIGURATION)
        if self._file is None:
            raise ApiError("conflict", NO_FILE)
        try:
            return await self._calls.call(self._changed, self._file, who, change, new)
        except TimeoutError:
            message = (
                f"The key file was not to be had for {CHANGE_SECONDS:g} s. Look whether the key is there, then retry."
            )
            raise ApiError("overloaded", message) from None

    def _changed(self, file: KeyFile, who: Who, change: Callable[[Keys], dict[str, Any]], new: bool) -> dict[str, Any]:
        """Blocks. This replica knows of the change at once, others within seconds."""
        with _faults_as_answers(), changing_keys(file, self._trail, who, new=new) as keys:
            result = change(keys)
        self._ring.refresh()
        return result

    def _card(self, entry: KeyEntry, now: datetime) -> dict[str, Any]:
        return public(entry, now) | {"source": "configuration" if entry.id in self._fixed else "file"}


@contextmanager
def _faults_as_answers() -> Iterator[None]:
    try:
        yield
    except UnknownKey:
        raise _unknown() from None
    except KeyRefusal as error:
        raise ApiError("conflict", str(error)) from None
    except ConfigError as error:  # it names the file
        logger.warning("a key was not changed. %s", error)
        raise ApiError("conflict", NOT_WRITABLE) from None


def _unknown() -> ApiError:
    return ApiError("key_not_found", "There is no key of this id. GET /admin/keys lists the ids.")


def _now() -> datetime:
    return moments.now().replace(microsecond=0)
