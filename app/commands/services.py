"""The services that `portico serve` runs on this machine: each writes down where it is, for the other commands."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import orjson
import psutil

from app.commands.http_options import host_of, port_of
from contract.private_folder import claim, make_folders, private_folder, write_private

FOLDER = "services"
GCS_ADDRESS, SESSION_FOLDER = "--gcs-address=", "--session_dir="  # arguments of Ray's own processes


class NoService(Exception):
    """No service runs that could be meant, or it does not answer. The message says what to do."""


@dataclass(frozen=True)
class LocalService:
    """A service of this user's on this machine."""

    pid: int  # of `portico serve`, which ends it
    started: float  # Unix time of that process: its number may be another's later
    config: str  # the Serve config file, as an absolute path
    host: str
    port: int
    ray_address: str | None = None  # of a cluster that it joined; none: it has its own

    @property
    def base_url(self) -> str:
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - a place to ask, not to listen
        return f"http://[{host}]:{self.port}/v1" if ":" in host else f"http://{host}:{self.port}/v1"

    def is_alive(self) -> bool:
        """Whether its process runs."""
        try:
            process = psutil.Process(self.pid)
            return bool(abs(process.create_time() - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def address(self) -> str:
        """The address of its Ray. Raises NoService where that has not started yet."""
        found = self.ray_address or self._argument(GCS_ADDRESS)
        if found is None:
            raise NoService(f"The service on port {self.port} is starting, and its Ray is not there yet. Try again.")
        return found

    def log_folder(self) -> Path:
        """Where its Ray and its models write their logs. Raises NoService where that is not known."""
        if self.ray_address is not None:
            raise NoService(
                f"The service on port {self.port} runs on the cluster at {self.ray_address}: its logs are on that "
                "cluster's nodes, in the folder `logs` of Ray's session."
            )
        session = self._argument(SESSION_FOLDER)
        if session is None:
            raise NoService(f"The service on port {self.port} is starting, and its Ray is not there yet. Try again.")
        return Path(session) / "logs"

    def _argument(self, name: str) -> str | None:
        """The value of an argument of one of its processes."""
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.pid).children(recursive=True):
                with suppress(psutil.Error):
                    for argument in process.cmdline():
                        if argument.startswith(name):
                            return str(argument).removeprefix(name)
        return None

    @classmethod
    def of_this_process(cls, config: Path, content: dict[str, Any]) -> Self:
        """The service of a config file that this process is about to run."""
        return cls(
            os.getpid(),
            psutil.Process().create_time(),
            str(config.absolute()),
            host_of(content),
            port_of(content),
            os.environ.get("RAY_ADDRESS"),
        )

    def write_down(self) -> Path:
        """Write where it is, or what it serves now. Returns the file."""
        folder = _folder()
        make_folders(str(folder))
        claim(str(folder))
        path = folder / f"{self.pid}.json"
        write_private(str(path), orjson.dumps(asdict(self)))
        return path


@contextmanager
def written_down(service: LocalService) -> Iterator[None]:
    """Other commands find the service meanwhile."""
    path = service.write_down()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def running() -> list[LocalService]:
    """Those that run now, by their ports. What a killed one has left is removed."""
    found = []
    for path in sorted(_folder().glob("*.json")):
        try:
            claim(str(path))
            service = LocalService(**orjson.loads(path.read_bytes()))
        except (OSError, TypeError, orjson.JSONDecodeError):
            continue  # it has just ended, or is no file of ours
        if service.is_alive():
            found.append(service)
        else:
            path.unlink(missing_ok=True)
    return sorted(found, key=lambda service: service.port)


def the_service(port: int | None = None) -> LocalService:
    """The one that runs, or the one at a port. Raises NoService."""
    services = running()
    meant = [service for service in services if port is None or service.port == port]
    if not meant:
        where = "on this machine" if port is None else f"on port {port}"
        others = f" There are others, on {_ports(services)}." if services else ""
        raise NoService(f"No service of yours runs {where}.{others} `portico serve` starts one.")
    if len(meant) > 1:
        raise NoService(f"Several services run, on {_ports(meant)}. Say which one: `--port {meant[0].port}`.")
    return meant[0]


def _ports(services: list[LocalService]) -> str:
    return ", ".join(f"{service.port} ({Path(service.config).name})" for service in services)


def _folder() -> Path:
    return Path(private_folder()) / FOLDER
