"""A folder of this user's own among the system's temporary files, where others may write too."""

import os
import stat
import tempfile


def private_folder(parent: str | None = None) -> str:
    """The folder's path; `parent` is the system's folder for temporary files unless named. Raises PermissionError."""
    folder = os.path.join(parent or tempfile.gettempdir(), f"portico-{os.getuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    status = os.lstat(folder)
    if (
        not stat.S_ISDIR(status.st_mode)
        or status.st_uid != os.getuid()
        or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise PermissionError(f"{folder} is not this user's own folder; remove it, or configure another place")
    return folder
