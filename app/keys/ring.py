"""The keys that are good now, and the check of an Authorization header against them."""

import asyncio
import hmac
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from app.background.thread_calls import ThreadCalls
from app.keys import moments
from app.keys.entry import KeyEntry, State
from app.keys.file import KeyFile, Version
from app.keys.secret import KEY_FORM, KEY_PREFIX, hash_key
from contract.errors import ApiError
from contract.fields import ConfigError

logger = logging.getLogger("portico.keys")

POLL_SECONDS = 2.0
READ_SECONDS = 30.0
MAX_HEADER_LENGTH = 512
NO_HASH = "0" * 64


class KeyRing:
    """The keys of a configuration and of its key file, which it reads at once. Raises ConfigError.

    `now` gives the present moment, timezone-aware. `when_changed` gets the path of the key file, and its keys by id
    before and after a change, on the thread that reads it.
    """

    def __init__(
        self,
        fixed: Iterable[KeyEntry],
        path: Path | None = None,
        now: Callable[[], datetime] = moments.now,
        when_changed: Callable[[Path, dict[str, KeyEntry], dict[str, KeyEntry]], None] = lambda *_: None,
    ) -> None:
        self._fixed = {entry.id: entry for entry in fixed}
        self._file = KeyFile(path) if path else None
        self._now = now
        self._when_changed = when_changed
        self._version: Version | None = None
        self._reported: tuple[Version | None, str] | None = None  # the version that could not be used, and why
        self._entries = self._fixed
        if self._file is not None:
            self._load(self._file)

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[KeyEntry]:
        """All keys, those of the configuration first."""
        return list(self._entries.values())

    def authenticate(self, authorization: str | None) -> KeyEntry:
        """The key of an Authorization header. Raises ApiError `invalid_api_key`, which never repeats the header.

        An unknown public id costs the same as a wrong secret: one hash, one comparison in constant time. Only who has
        the whole secret learns that a key has expired or was revoked.
        """
        if authorization is None:
            raise _refused("No API key was sent. Send it in a header `Authorization: Bearer KEY`.")
        scheme, _, key = authorization.partition(" ") if len(authorization) <= MAX_HEADER_LENGTH else ("", "", "")
        form = KEY_FORM.fullmatch(key := key.strip(" "))
        if scheme.lower() != "bearer" or form is None:
            raise _refused(_fault_of(scheme, key))
        entry = self._entries.get(form[1])
        same = hmac.compare_digest(hash_key(form[0]), entry.sha256 if entry else NO_HASH)
        if entry is None or not same:
            raise _refused("This API key is not valid here. Check it, or ask the operator for a new one.")
        state = entry.state_at(self._now())
        if state is not State.ACTIVE:
            raise _refused(f"This API key is {state}. Ask the operator for a new one.")
        return entry

    async def follow(self) -> None:
        """Keep up with the key file for as long as this process lives. What it raises changes nothing; begin again."""
        reads = ThreadCalls("the key file", READ_SECONDS)
        while self._file is not None:
            await asyncio.sleep(POLL_SECONDS)
            await reads.call(self.refresh)

    def refresh(self) -> None:
        """Read the key file if it has changed. One that cannot be used is logged once, and changes nothing."""
        if self._file is None:
            return
        version = self._file.version()
        if version == self._version:
            return
        before = self._entries
        try:
            self._load(self._file)
        except ConfigError as error:
            if self._reported != (version, str(error)):
                self._reported = version, str(error)
                logger.warning("the key file cannot be used; the keys loaded before stay valid. %s", error)
        if self._entries != before:
            self._when_changed(
                self._file.path,
                *({one: keys[one] for one in keys if one not in self._fixed} for keys in (before, self._entries)),
            )

    def _load(self, file: KeyFile) -> None:
        version = file.version()  # before the content: a change in between is found at the next poll
        entries = {entry.id: entry for entry in file.read()}
        if both := sorted(self._fixed.keys() & entries.keys()):
            raise ConfigError(f"keys: the id {both[0]!r} is in the configuration and in the key file too")
        self._version, self._reported, self._entries = version, None, self._fixed | entries
        if version is not None and version.open_to_all:
            logger.warning("every user of this machine may read the key file %s; `chmod 600` it", file.path)


def _fault_of(scheme: str, key: str) -> str:
    """What is wrong with an Authorization header that holds no key of ours; nothing of it is repeated."""
    if scheme.lower() != "bearer" or not key:
        return f"The Authorization header is malformed. It must be `Bearer {KEY_PREFIX}...`."
    if KEY_PREFIX in key:
        return (
            f"This API key is not whole, or something stands beside it. Send `Bearer {KEY_PREFIX}...`, all of the key."
        )
    return (
        f"This is not a key of this service: those begin with `{KEY_PREFIX}`. Send `Bearer {KEY_PREFIX}...`; the "
        "operator makes such keys."
    )


def _refused(message: str) -> ApiError:
    return ApiError("invalid_api_key", message)
