"""The audit log as a file: JSON lines that are only ever added, each on the disk before the change that it is of."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from app.audit.change import Change
from contract.fields import ConfigError
from contract.line_writer import write_whole

FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Trail:
    """Where changes are written down. Several processes may write at once: each adds whole lines."""

    def __init__(self, path: Path | None) -> None:
        """`path` need not exist yet; the file is for its owner alone. None: nowhere."""
        self.path = path

    def write(self, changes: Sequence[Change]) -> None:
        """Add a line for each, all of them or none, and have them on the disk. Raises ConfigError."""
        if self.path is None or not changes:
            return
        text = b"".join(orjson.dumps(one.line(), default=str, option=orjson.OPT_APPEND_NEWLINE) for one in changes)
        try:
            with _locked(self.path) as file:
                _add(file, text)
        except OSError as error:
            raise ConfigError(
                f"{self.path}: the audit log cannot be written ({error.strerror}), and no command changes "
                "anything without it. Make room, or have its folder writable for you"
            ) from None

    @contextmanager
    def ahead(self) -> Iterator[Callable[[Sequence[Change]], None]]:
        """A `write` for changes that the block is about to make: where it then fails, a second line of each says so."""
        written: list[Change] = []

        def write(changes: Sequence[Change]) -> None:
            self.write(changes)
            written.extend(changes)

        try:
            yield write
        except BaseException:
            with suppress(ConfigError):  # what is reported is why the block failed
                self.write([change._replace(failed=True) for change in written])
            raise

    def read(self) -> list[dict[str, Any]]:
        """All lines, oldest first; what is none is left out. Raises ConfigError."""
        if self.path is None:
            return []
        try:
            texts = self.path.read_bytes().splitlines()
        except OSError as error:
            raise ConfigError(f"{self.path}: the audit log cannot be read ({error.strerror})") from None
        return [line for line in map(_parsed, texts) if line is not None]


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    is_new = not path.exists()
    file = os.open(path, FLAGS, 0o600)
    try:
        if is_new:
            _sync_folder(path.parent)
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _sync_folder(folder: Path) -> None:
    """Have the new name outlive a loss of power, where the file system can."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(opened)
    finally:
        os.close(opened)


def _add(file: int, text: bytes) -> None:
    size = os.fstat(file).st_size
    torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"  # by a loss of power
    try:
        write_whole(file, b"\n" * torn + text)
        os.fsync(file)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)  # no half of a line stays
        raise


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return line if isinstance(line, dict) and "what" in line else None
