"""A PostgreSQL of the tests' own: a cluster in a folder, on a Unix socket, that can be stopped and started again."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root
USER = "portico"
PROGRAMS = ("initdb", "pg_ctl", "postgres", "createdb")


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where it is not installed."""
    on_path = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    for folder in [*on_path, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]:
        if all((folder / name).exists() for name in PROGRAMS):
            return folder
    return None


class PostgreSQL:
    """One that may be running."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder, self._binaries = folder, binaries
        self._databases = 0
        self._as_whom = ["setpriv", f"--reuid={UNPRIVILEGED}", "--clear-groups"] if os.getuid() == 0 else []

    def new_database(self) -> str:
        """The URL of an empty one."""
        self._databases += 1
        name = f"usage_{self._databases}"
        self._run("createdb", "-h", str(self._folder), "-U", USER, name)
        return f"postgresql://{USER}@/{name}?host={self._folder}"

    def make(self) -> None:
        if os.getuid() == 0:
            os.chown(self._folder, pwd.getpwnam(UNPRIVILEGED).pw_uid, -1)
        self._run("initdb", "-D", f"{self._folder}/data", "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off -c max_connections=20"
        log = f"{self._folder}/log"
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-l", log, "-o", options, "-w", "start")

    def stop(self) -> None:
        """At once, as where its machine fails."""
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_whom, str(self._binaries / program), *arguments]
        done = subprocess.run(
            command, cwd="/", stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout!r}"


@contextmanager
def running(binaries: Path) -> Iterator[PostgreSQL]:
    """A new one with an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="portico-pg-"))  # short: it holds a socket, whose path is bounded
    server = PostgreSQL(folder, binaries)
    try:
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
