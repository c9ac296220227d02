"""CPU time and memory of everything that a system has started, by what it is."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

import psutil

KINDS = ("gateway", "replica", "proxy", "other")
STOP_SECONDS = 10


def kind_in_serve(command: str) -> str:
    """Of a process of Ray: an ingress replica, a model's replica, HAProxy or Serve's own proxy, or Ray itself."""
    if "ServeReplica:" in command:
        return "gateway" if ":gateway" in command or ":LLMRouter" in command else "replica"
    return "proxy" if "haproxy" in command.partition(" ")[0] or "ProxyActor" in command else "other"


def kind_of_a_peer(_: str) -> str:
    """All of it is the gateway. The echo behind it is another system."""
    return "gateway"


class Usage(NamedTuple):
    """CPU seconds by kind, up to a moment."""

    at: float  # seconds
    cpu: dict[str, float]

    def since(self, before: "Usage") -> "Usage":
        """What came after `before`; `at` is then the seconds between."""
        return Usage(self.at - before.at, {kind: self.cpu[kind] - before.cpu[kind] for kind in KINDS})

    def total(self) -> float:
        return sum(self.cpu.values())

    def less(self, idle: "Usage") -> "Usage":
        """Without what would have been used with nothing to do. Both are of a span of time."""
        return Usage(self.at, {kind: self.cpu[kind] - idle.cpu[kind] * self.at / idle.at for kind in KINDS})


class ProcessTree:
    """A command, and everything that it has started."""

    def __init__(self, root: subprocess.Popen[bytes], kind_of: Callable[[str], str], mark: str) -> None:
        """`mark` stands in the command lines of those that have lost their parent, such as a replaced HAProxy."""
        self.root = root
        self._kind_of = kind_of
        self._mark = mark
        self._seen: dict[psutil.Process, tuple[str, float]] = {}

    def usage(self) -> Usage:
        """CPU time so far, also of what has ended since the last look."""
        now = time.perf_counter()
        for process in self._running():
            with contextlib.suppress(psutil.Error):  # it has just ended
                times = process.cpu_times()
                self._seen[process] = (self._kind(process), times.user + times.system)
        cpu = dict.fromkeys(KINDS, 0.0)
        for kind, seconds in self._seen.values():
            cpu[kind] += seconds
        return Usage(now, cpu)

    def memory_mb(self) -> float:
        """Proportional set size of the gateway's processes."""
        of_the_gateway = [process for process in self._running() if self._kind(process) == "gateway"]
        return sum(process.memory_full_info().pss for process in of_the_gateway) / 1e6

    def stop(self) -> None:
        """Ask the root to end, then end all that is left."""
        started = self._running()
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            self.root.send_signal(signal.SIGTERM)
            self.root.wait(STOP_SECONDS)
        for process in started | self._running():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.root.wait()

    def _running(self) -> set[psutil.Process]:
        found = {one for one in psutil.process_iter() if self._mark in _command(one)}
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.root.pid)
            found |= {root, *root.children(recursive=True)}
        return found

    def _kind(self, process: psutil.Process) -> str:
        return self._kind_of(_command(process))


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
