"""The key file: the keys that the command line makes, as JSON, which every replica of the gateway reads.

A reader sees the old content or the new, never a part. A writer waits for the writer before it.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IRGRP, S_IROTH, S_IRUSR, S_IWUSR
from typing import NamedTuple

import pydantic

from app.keys.entry import KeyEntry
from app.keys.local import is_local
from contract.fields import ConfigError, Strict, explain, refuse_twice


class Version(NamedTuple):
    """What differs between two states of the file, without reading it."""

    mtime_ns: int
    inode: int
    size: int
    mode: int

    @property
    def open_to_all(self) -> bool:
        """Whether every user of the machine may read the file."""
        return bool(self.mode & S_IROTH)


class Content(Strict):
    """The whole file."""

    keys: list[KeyEntry]

    @pydantic.field_validator("keys")
    @classmethod
    def _unique_and_secret(cls, keys: list[KeyEntry]) -> list[KeyEntry]:
        refuse_twice(key.id for key in keys)
        for key in keys:
            if is_local(key):
                raise ValueError(f"{key.id} is the local key, which is public; remove it")
        return keys


class KeyFile:
    """A key file, which need not exist yet. Its faults are ConfigErrors that name entry and field, never a hash."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def version(self) -> Version | None:
        """The version that `read` would find now; None where no file can be seen. Follows links."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return Version(status.st_mtime_ns, status.st_ino, status.st_size, status.st_mode)

    def read(self) -> list[KeyEntry]:
        """The keys, in the order in which they were made. Raises ConfigError."""
        try:
            return Content.model_validate_json(self.path.read_bytes()).keys
        except FileNotFoundError:
            raise ConfigError(
                f"{self.path}: there is no such file; `portico keys create --file {self.path}` makes it"
            ) from None
        except OSError as error:
            raise ConfigError(f"{self.path}: it cannot be read ({error.strerror})") from None
        except pydantic.ValidationError as error:
            faults = str(explain(error, "the whole file"))
            raise ConfigError("\n".join(f"{self.path}: {fault}" for fault in faults.splitlines())) from None

    @contextmanager
    def changing(self, *, new: bool = False) -> Iterator[dict[str, KeyEntry]]:
        """The keys by id, to be changed in place; they are written when the block ends without an exception.

        With `new`, a file that does not exist counts as empty. Raises ConfigError.
        """
        with self._lock():
            keys = {} if new and not self.path.exists() else {key.id: key for key in self.read()}
            yield keys
            self._write(keys.values())

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep out every other writer. The lock is a file beside the key file, which each write replaces."""
        with self._faults_reported():
            if self.path.is_symlink():
                raise ConfigError(
                    f"{self.path}: it is a link to another file, as in a mounted Kubernetes Secret. Change the Secret, "
                    "or name the file that the link leads to"
                )
            if not self.path.parent.is_dir():
                raise ConfigError(f"{self.path}: its folder does not exist; make it first")
            lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, keys: Iterable[KeyEntry]) -> None:
        content = Content(keys=list(keys)).model_dump_json(indent=2, exclude_none=True)
        with self._faults_reported():
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
            temporary = Path(name)
            try:
                with open(handle, "w", encoding="utf-8") as file:
                    self._keep_readers(handle)
                    file.write(f"{content}\n")
                    file.flush()
                    os.fsync(handle)
                temporary.replace(self.path)
            finally:
                temporary.unlink(missing_ok=True)
            self._sync_folder()

    def _keep_readers(self, handle: int) -> None:
        """Let the service go on reading a file that was given to its user or its group. Others may never read it."""
        if not self.path.exists():
            return
        status, mine = self.path.stat(), os.fstat(handle)
        if (status.st_uid, status.st_gid) != (mine.st_uid, mine.st_gid):
            os.fchown(handle, status.st_uid, status.st_gid)
        os.fchmod(handle, S_IRUSR | S_IWUSR | (status.st_mode & S_IRGRP))

    def _sync_folder(self) -> None:
        """Makes the new name outlive a loss of power. Not every file system can; the write has succeeded anyway."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):
                os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _faults_reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"{self.path}: it cannot be written ({error.strerror}). Its folder must be writable for you; where it "
                "is mounted read-only, change its source"
            ) from None
