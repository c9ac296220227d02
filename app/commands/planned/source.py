"""The files of a model that is named: in a folder, or on the hub, of which only small ones are read."""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.commands.weights import HUB_NAME
from app.config.model_entry import ROUTE_WORDS
from app.config.model_files import Unknown, folder_of
from contract.fields import ConfigError
from contract.project import PROJECT_FOLDER

HUB_SECONDS = 20.0
ESPEAK = "espeak-ng"  # comes with the packages


@dataclass(frozen=True)
class Source:
    """A model: where it is, and its files."""

    name: str  # as a model entry names it
    id: str
    sizes: dict[str, int]  # bytes of each file, by its path
    folder: Path | None = None  # none: only on the hub
    revision: str | None = None  # the commit of a hub name
    parameters: dict[str, int] = field(default_factory=dict)  # weights by their type (BF16), as the hub counts them

    def text(self, path: str) -> str:
        """A small file; empty where there is none. Raises ConfigError where the hub does not give it."""
        if path not in self.sizes:
            return ""
        if self.folder is not None:
            return (self.folder / path).read_text(errors="replace")
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - it takes longer than all else here

        try:
            return Path(hf_hub_download(self.name, path, revision=self.revision)).read_text(errors="replace")
        except Exception as error:  # requests of several libraries, each with errors of its own
            raise ConfigError(f"{self.name}: {path} cannot be read from the hub: {_first_line(error)}") from None

    def json(self, path: str) -> dict[str, Any]:
        """A small file of JSON; empty where there is none. Raises ConfigError."""
        text = self.text(path)
        try:
            found = json.loads(text) if text else {}
        except json.JSONDecodeError as error:
            raise ConfigError(f"{self.name}: {path} is not JSON ({error})") from None
        return found if isinstance(found, dict) else {}

    def has(self, pattern: str) -> bool:
        """Whether a file's path matches a regular expression as a whole."""
        return any(re.fullmatch(pattern, path) for path in self.sizes)


def find(name: str) -> Source:
    """The model that a user names. Raises ConfigError, which says what is legal and what to do."""
    if name == ESPEAK:
        return Source(name, name, {})
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _of_folder(Path(os.path.abspath(folder)))
    if folder.exists() or not HUB_NAME.fullmatch(name):
        raise ConfigError(
            f"{name} is neither a folder nor a name on the hub, such as Qwen/Qwen3-0.6B, nor a Serve config "
            "file (.yaml)"
        )
    return _of_hub(name)


def _of_folder(folder: Path, name: str | None = None, revision: str | None = None) -> Source:
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    if not sizes:
        raise ConfigError(f"{folder} is empty; name the folder with the files of a model")
    inside = folder.is_relative_to(PROJECT_FOLDER)
    shown = name or (f"./{folder.relative_to(PROJECT_FOLDER)}" if inside else str(folder))
    return Source(shown, _id(name or folder.name), sizes, folder, revision)


def _of_hub(name: str) -> Source:
    """What the hub says of a model; where it cannot be reached, what was downloaded."""
    from huggingface_hub import HfApi, constants  # noqa: PLC0415 - it takes longer than all else here
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError  # noqa: PLC0415

    try:
        info = HfApi().model_info(name, files_metadata=True, timeout=HUB_SECONDS)
    except GatedRepoError:
        raise ConfigError(
            f"{name}: its owner asks you to accept terms. Do so on its page, then set HF_TOKEN to a token of yours"
        ) from None
    except RepositoryNotFoundError:
        raise ConfigError(
            f"{name}: the hub has no model of this name, or it is private. Check the spelling, or set HF_TOKEN"
        ) from None
    except Exception as error:  # no network, a proxy that refuses, HF_HUB_OFFLINE: of several libraries
        return _downloaded(name, constants.ENDPOINT, error)
    counted = getattr(info.safetensors, "parameters", None) or {}
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    return Source(name, _id(name), sizes, None, info.sha, dict(counted))


def _downloaded(name: str, endpoint: str, error: Exception) -> Source:
    try:
        folder = folder_of(name, None)
    except Unknown:
        raise ConfigError(
            f"{name}: the hub at {endpoint} cannot be reached ({_first_line(error)}), and the model was not downloaded "
            "before. Check the network and its proxy, or name a folder that has the model's files"
        ) from None
    return _of_folder(folder, name, folder.name)  # a snapshot's folder is named after its commit


def _id(name: str) -> str:
    """What clients call it: the last part of its name."""
    last = re.sub(r"[^a-z0-9._-]+", "-", name.rstrip("/").rpartition("/")[2].lower()).strip("-._")[:63] or "model"
    return f"{last}-model" if last in ROUTE_WORDS else last


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0][:200]
