"""What each peer needs, made from its lock: locks/bench-NAME.txt."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from contract.project import PROJECT_FOLDER

FOLDER = PROJECT_FOLDER / "benchmarks" / ".environments"
UV = Path(sys.executable).with_name("uv")


def programs_of(peer: str) -> Path:
    """The folder of the programs in an environment of the peer's own."""

    def make(folder: Path, lock: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603 - our own command
        _install(lock, "--python", str(folder / "bin" / "python"))

    return _made(peer, make) / "bin"


def packages_of(peer: str) -> Path:
    """A folder of packages for a peer that runs in this environment, beside its packages."""
    return _made(peer, lambda folder, lock: _install(lock, "--target", str(folder)))


def version_of(peer: str) -> str:
    """Of the package that has the peer's name, as its lock pins it."""
    found = re.search(rf"^{peer}==(\S+)", _lock(peer).read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"the lock of {peer} does not pin it")
    return found[1]


def _lock(peer: str) -> Path:
    return PROJECT_FOLDER / "locks" / f"bench-{peer}.txt"


def _made(peer: str, make: Callable[[Path, Path], None]) -> Path:
    """The folder that `make` fills; it is made again where it is of another lock."""
    lock = _lock(peer)
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    folder = FOLDER / peer
    stamp = folder / "lock.sha256"
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"Making the environment of {peer} ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        make(folder, lock)
        stamp.write_text(digest)
    return folder


def _install(lock: Path, *where: str) -> None:
    command = [str(UV), "pip", "install", "--quiet", "--compile-bytecode", "--no-deps", "--require-hashes"]
    subprocess.run([*command, *where, "-r", str(lock)], check=True)  # noqa: S603 - our own command
