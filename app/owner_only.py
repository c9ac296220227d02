"""Files in a place that fsspec knows, for the user of the service alone where that place has users: a local folder."""

from typing import Any

from fsspec.implementations.local import LocalFileSystem

from contract.private_folder import claim, make_folders, write_private


def make_folder(system: Any, folder: str) -> None:
    if isinstance(system, LocalFileSystem):
        make_folders(folder)
    else:
        system.makedirs(folder, exist_ok=True)


def write(system: Any, path: str, content: bytes) -> None:
    """Write a file whole or not at all."""
    if isinstance(system, LocalFileSystem):
        write_private(path, content)
    else:
        with system.transaction, system.open(path, "wb") as file:
            file.write(content)


def read(system: Any, path: str) -> bytes:
    """What this service wrote. Raises PermissionError where somebody else did, FileNotFoundError."""
    if isinstance(system, LocalFileSystem):
        claim(path)
    return bytes(system.cat_file(path))
