"""The project's folder, places in it, and its version."""

import os
import tomllib
from pathlib import Path
from typing import Final

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
# pyproject.toml is the one place of the version. It is beside the packages wherever these run, also in the image.
VERSION: Final[str] = tomllib.loads((PROJECT_FOLDER / "pyproject.toml").read_text())["project"]["version"]


LOCAL_MODELS = "./local_models/"  # of the project itself, and those that are fetched or made


def local_models_folder() -> Path:
    """Where models are fetched and made: in the project, unless that may not be written to, as in an image."""
    return Path(os.environ.get("PORTICO_LOCAL_MODELS") or PROJECT_FOLDER / LOCAL_MODELS)


def in_project(place: str) -> str:
    """`place` as it is, or an absolute path where it begins with ./"""
    if not place.startswith("./"):
        return place
    path = PROJECT_FOLDER / place
    if place.startswith(LOCAL_MODELS) and not path.exists():
        path = local_models_folder() / place.removeprefix(LOCAL_MODELS)
    return str(path)


def is_hub_name(place: str) -> bool:
    """Whether `place` is a name on the hub: neither a folder nor a URL."""
    return not place.startswith(("/", "./")) and "://" not in place
