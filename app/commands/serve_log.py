"""The file that takes what a service's processes print: Ray, Serve and the engines, and a line for each request."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from contract.private_folder import private_folder

FOLDER = "logs"  # in the user's own
KEPT = 20  # files, of the ports that were served last
TAIL_LINES = 30
TAIL_BYTES = 64 * 1024
MAX_BYTES = 512 * 1024 * 1024  # then it begins anew, and what was there is kept once


class ServeLog:
    """The log of the service of one port, which begins anew with each start. For its owner alone."""

    def __init__(self, port: int) -> None:
        """Raises PermissionError where its place is somebody else's."""
        self.path = path_of(port)
        # Appended to: where it is cut, its writers go on at the new end.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = os.open(self.path, flags, 0o600)
        _remove_all_but_the_newest(self.path.parent)

    def begin_anew_if_large(self) -> None:
        """Keep what is there beside it, in place of what was kept before, and go on with an empty file."""
        if os.fstat(self.descriptor).st_size > MAX_BYTES:
            shutil.copy(self.path, self.path.with_suffix(".log.1"))
            os.ftruncate(self.descriptor, 0)

    def tail(self) -> Sequence[str]:
        """Its last lines."""
        with self.path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]


def path_of(port: int) -> Path:
    """Raises PermissionError where its folder is somebody else's."""
    return Path(private_folder(private_folder(), FOLDER)) / f"serve-{port}.log"


def _remove_all_but_the_newest(folder: Path) -> None:
    """Those that are written to now are among the newest."""
    files = sorted(folder.glob("serve-*"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[KEPT:]:
        file.unlink(missing_ok=True)
