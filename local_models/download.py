"""A file downloaded over HTTP into a `.part` beside it, which the next try goes on with, and checked by its SHA-256."""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONNECT_SECONDS = 10.0  # a host that cannot be reached must not hold up the next source
TRIES = 5  # in a row that bring nothing new
PAUSE_SECONDS = 1.0

Report = Callable[[int], None]  # of the bytes that are there


class Unavailable(Exception):
    """A source does not give the file. Its arguments say why, each for one place of it."""

    def __str__(self) -> str:
        return "; ".join(map(str, self.args))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


@dataclass
class Download:
    """A file at an address, and what it must be. `client` is an httpx2.Client; `options` are of its `stream`."""

    client: Any
    url: str
    size: int  # bytes
    sha256: str
    report: Report
    headers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def into(self, target: Path) -> None:
        """Write the file; what an earlier try left in its part is not asked for again.

        Raises Unavailable; then the part stays for the next try, unless what it holds is wrong.
        """
        part = part_of(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        continued = part.exists()
        self._complete(part)
        found = sha256_of(part)
        if found != self.sha256 and continued:  # the older piece may be the wrong one
            part.unlink()
            self._complete(part)
            found = sha256_of(part)
        if found != self.sha256:
            part.unlink()
            raise Unavailable(f"what came has the wrong SHA-256, {found}; expected {self.sha256}. It was removed")
        part.rename(target)

    def _complete(self, part: Path) -> None:
        """Ask for what is missing of `part` until it is whole. Raises Unavailable."""
        import httpx2

        tried, most = 0, _length(part)
        while tried < TRIES:
            try:
                self._ask(part)
            except httpx2.HTTPError as error:
                # A host that is not there is not there a second later.
                if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                    raise Unavailable(str(error) or type(error).__name__) from error
                time.sleep(PAUSE_SECONDS)
            there = _length(part)
            if there == self.size:
                return
            tried = 0 if there > most else tried + 1
            most = max(most, there)
        raise Unavailable(f"the connection broke {TRIES} times in a row, after {there} of {self.size} bytes")

    def _ask(self, part: Path) -> None:
        """One request for the bytes from the end of `part`. Raises httpx2.HTTPError and Unavailable."""
        there = _length(part)
        if there == self.size:
            return
        # Bytes as they are stored: the offsets in a compressed answer would be others.
        headers = {**self.headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
        with self.client.stream("GET", self.url, headers=headers, **self.options) as answer:
            if answer.status_code == 416 and there:  # nothing comes after `part`: it is of another file
                part.unlink()
                return
            if answer.status_code not in {200, 206}:
                raise Unavailable(f"HTTP {answer.status_code} {answer.reason_phrase}".rstrip())
            sent = answer.headers.get("Content-Range", "")
            if answer.status_code == 206 and not sent.startswith(f"bytes {there}-"):
                raise Unavailable(f"asked for the bytes from {there} on, the server sent {sent or 'others'}")
            if answer.status_code == 200:
                there = 0  # a server that knows no ranges begins anew
            self._append(part, there, answer.iter_raw())

    def _append(self, part: Path, there: int, blocks: Iterable[bytes]) -> None:
        with part.open("ab" if there else "wb") as file:
            self.report(there)
            for block in blocks:
                there += len(block)
                if there > self.size:
                    part.unlink()
                    raise Unavailable(f"the server sent more than the {self.size} bytes of the file")
                file.write(block)
                self.report(there)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def copy_checked(source: Path, target: Path, sha256: str) -> None:
    """Copy a file of this machine. Raises Unavailable where it is another one."""
    found = sha256_of(source)
    if found != sha256:
        raise Unavailable(f"{source} has the wrong SHA-256, {found}; expected {sha256}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
