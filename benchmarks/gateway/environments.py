"""An environment for each peer, made from its lock: locks/bench-NAME.txt."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from contract.project import PROJECT_FOLDER

FOLDER = PROJECT_FOLDER / "benchmarks" / ".environments"
UV = Path(sys.executable).with_name("uv")


def programs_of(peer: str) -> Path:
    """The folder of the peer's programs; its environment is made first where it is missing or of another lock."""
    lock = PROJECT_FOLDER / "locks" / f"bench-{peer}.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    folder = FOLDER / peer
    stamp = folder / "lock.sha256"
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"Making the environment of {peer} ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603 - our own command
        install = [str(UV), "pip", "install", "--quiet", "--compile-bytecode", "--no-deps", "--require-hashes"]
        python = str(folder / "bin" / "python")
        subprocess.run([*install, "--python", python, "-r", str(lock)], check=True)  # noqa: S603 - our own command
        stamp.write_text(digest)
    return folder / "bin"
