"""The models of local.yaml that are fetched: whether they are here as they should be, and how they get here."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from local_models.fetch import Fetcher
from local_models.smollm2 import make_smollm2
from local_models.sources import FETCHED, FetchedModel

STAMP = ".made_from.json"


class Conversion(NamedTuple):
    """What makes a model of the one file that is fetched. `code` are the files here that decide the result."""

    make: Callable[[Path, Path], None]  # the folder to write into, the fetched file
    code: tuple[str, ...]


CONVERSIONS = {"smollm2-135m-instruct": Conversion(make_smollm2, ("smollm2.py", "gguf.py", "smollm2_template.jinja"))}


def is_current(name: str, folder: Path) -> bool:
    """Whether `folder` has the model whole, made of what sources.py names. Its weights are not read again."""
    try:
        stamp = json.loads((folder / STAMP).read_text())
        sizes = {file: (folder / file).stat().st_size for file in stamp["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(stamp == {"made_from": _made_from(FETCHED[name]), "files": sizes})


def fetch_model(name: str, folder: Path, fetcher: Fetcher, scratch: Path) -> None:
    """Put the model into `folder`, in one step at the end; what was there is replaced. Raises FetchError."""
    model = FETCHED[name]
    work = Path(tempfile.mkdtemp(dir=scratch, prefix=f"{name}-"))
    try:
        made = work / "made"
        made.mkdir(mode=0o755)
        conversion = CONVERSIONS.get(name)
        fetched = work / "fetched" if conversion else made
        fetched.mkdir(exist_ok=True)
        fetcher.fetch(model, fetched)
        if conversion:
            conversion.make(made, fetched / model.files[0].name)
        (made / STAMP).write_text(json.dumps(_stamp(model, made)))
        _replace(folder, made, work / "before")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    fetcher.forget(model)


def _stamp(model: FetchedModel, folder: Path) -> dict[str, Any]:
    files = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return {"made_from": _made_from(model), "files": files}


def _made_from(model: FetchedModel) -> str:
    """A hash of the files' hashes and of the code that converts them. Where a file comes from does not matter."""
    digest = hashlib.sha256()
    for file in model.files:
        digest.update(f"{file.name} {file.sha256}\n".encode())
    for name in CONVERSIONS[model.id].code if model.id in CONVERSIONS else ():
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


def _replace(folder: Path, new: Path, before: Path) -> None:
    if folder.exists() or folder.is_symlink():
        folder.rename(before)
    new.rename(folder)
