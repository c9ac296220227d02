"""The project's folder, places in it, and its version."""

import tomllib
from pathlib import Path
from typing import Final

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
# pyproject.toml is the one place of the version. It is beside the packages wherever these run, also in the image.
VERSION: Final[str] = tomllib.loads((PROJECT_FOLDER / "pyproject.toml").read_text())["project"]["version"]


def in_project(place: str) -> str:
    """`place` as it is, or an absolute path where it begins with ./"""
    return str(PROJECT_FOLDER / place) if place.startswith("./") else place


def is_hub_name(place: str) -> bool:
    """Whether `place` is a name on the hub: neither a folder nor a URL."""
    return not place.startswith(("/", "./")) and "://" not in place
