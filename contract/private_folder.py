"""Folders and files that are this user's alone, also among the system's temporary files, where others may write too."""

import os
import stat
import tempfile
from pathlib import Path

OTHERS = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def private_folder(parent: str | None = None, name: str | None = None) -> str:
    """The folder's path; `parent` is the system's folder for temporary files unless named. Raises PermissionError."""
    folder = os.path.join(parent or tempfile.gettempdir(), name or f"portico-{os.getuid()}")
    make_folders(folder)
    claim(folder)
    return folder


def make_folders(folder: str) -> None:
    """Make `folder` and what it lies in, as far as they are not there, for this user alone."""
    path = Path(folder)
    for missing in reversed([one for one in (path, *path.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def claim(path: str) -> None:
    """Take from others what they may do with a file or folder of this user's.

    Raises PermissionError where it is a link or somebody else's, or others could already write there.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & OTHERS_WRITE:
        raise PermissionError(f"{path} is not this user's own; remove it, or configure another place")
    if status.st_mode & OTHERS:
        os.chmod(path, stat.S_IMODE(status.st_mode) & ~OTHERS)


def write_private(path: str, content: bytes) -> None:
    """Write a file for this user alone, whatever the umask: it is there whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".")
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
