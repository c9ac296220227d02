"""The models of local.yaml that are fetched: whether they are here as they should be, and how they get here."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from local_models.fetch import Fetcher
from local_models.smollm2 import make_smollm2
from local_models.sources import FetchedModel

STAMP = ".made_from.json"
UNFINISHED = "unfinished-"


class Conversion(NamedTuple):
    """What makes a model of the one file that is fetched. `code` are the files here that decide the result."""

    make: Callable[[Path, Path], None]  # the folder to write into, the fetched file
    code: tuple[str, ...]


CONVERSIONS = {"smollm2-135m-instruct": Conversion(make_smollm2, ("smollm2.py", "gguf.py", "smollm2_template.jinja"))}


def is_current(model: FetchedModel, folder: Path) -> bool:
    """Whether `folder` has the model whole, made of what sources.py names. Its weights are not read again."""
    try:
        stamp = json.loads((folder / STAMP).read_text())
        sizes = {file: (folder / file).stat().st_size for file in stamp["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(stamp == {"made_from": _made_from(model), "files": sizes})


def fetch_missing(models: Iterable[FetchedModel], folder: Path, fetcher: Fetcher) -> None:
    """Fetch those that are not in `folder` as they should be. Another run at the same time waits. Raises FetchError."""
    missing = [model for model in models if not is_current(model, folder / model.id)]
    if not missing:
        return
    with _alone(fetcher):
        for work in fetcher.downloads.glob(f"{UNFINISHED}*"):  # of a run that was killed
            shutil.rmtree(work, ignore_errors=True)
        for model in missing:
            if not is_current(model, folder / model.id):  # the other run may have fetched it
                start = time.monotonic()
                fetch_model(model, folder / model.id, fetcher)
                fetcher.say(f"fetched {model.id} in {time.monotonic() - start:.1f} s")


@contextmanager
def _alone(fetcher: Fetcher) -> Iterator[None]:
    """Wait until no other run fetches into the same folder."""
    fetcher.downloads.mkdir(exist_ok=True)
    lock = FileLock(fetcher.downloads / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        fetcher.say("Waiting for another run that is fetching models ...")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def fetch_model(model: FetchedModel, folder: Path, fetcher: Fetcher) -> None:
    """Put the model into `folder`, in one step at the end; what was there is replaced. Raises FetchError.

    What it is converted from stays among the downloads: another conversion of it, in another version of this project,
    then needs no network.
    """
    work = Path(tempfile.mkdtemp(dir=fetcher.downloads, prefix=UNFINISHED))
    try:
        made = work / "made"
        made.mkdir(mode=0o755)
        if model.id in CONVERSIONS:
            originals = fetcher.downloads / model.id
            fetcher.fetch(model, originals)
            CONVERSIONS[model.id].make(made, originals / model.files[0].name)
        else:
            fetcher.fetch(model, made)
        (made / STAMP).write_text(json.dumps(_stamp(model, made)))
        if folder.exists() or folder.is_symlink():
            folder.rename(work / "before")
        made.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    fetcher.forget_downloads(model)


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
