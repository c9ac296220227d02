"""A service that runs in the foreground: what a person sees of it from its start to its end, and how it is stopped."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console

from app.commands.banner import banner, deploy_command
from app.commands.serve_log import ServeLog
from app.commands.serve_probe import Look, Probe
from app.commands.serve_progress import PlainProgress, Progress, TerminalProgress, Times
from app.config.service import Config

POLL_SECONDS = 0.5
DRAIN_SECONDS = 30.0  # for requests under way, once the service is to stop
STOP_SECONDS = 6.0  # for all else, Ray among it; what is left then is killed
LAST_SECONDS = 1.0  # for what the service has told to end, once it has ended itself
GATEWAY_PROCESS = "ray::ServeReplica:{application}:gateway"
ENDED = 1  # the exit status of a service that was not asked to end


class Foreground:
    """A service that was started, and what a person sees of it."""

    def __init__(self, child: subprocess.Popen[bytes], log: ServeLog, application: str) -> None:
        self._child = child
        self._log = log
        self._gateway = GATEWAY_PROCESS.format(application=application)
        self._has_answered = False  # the gateway, so that requests may be under way

    def run(self, config: Config, host: str, port: int, path: Path) -> int:
        """Show how far it is until it is ready, and wait until it ends. Returns the exit status."""
        probe, times = Probe(host, port), Times()
        first = set(config.start_first) or {model.id for model in config.models}

        def is_settled(look: Look) -> bool:
            """Those that come first are up, in so far as they do not fail; or every one has failed."""
            chosen = [one for one in look.models if one.id in first]
            there = all(one.is_settled for one in chosen) and any(one.is_up for one in chosen)
            return bool(look.models) and (there or all(one.is_settled for one in look.models))

        look = self._follow(probe, _progress(None, path, times), is_settled)
        if look is None:
            return self._say_that_it_ended()
        if not any(one.is_up for one in look.models):
            print(f"\nNo model is up, so the service ends. All that it printed is in {self._log.path}", flush=True)
            self._has_answered = False  # no request can be under way
            self.stop()
            return ENDED
        print(banner(config, host, port, path, look.models), flush=True)
        later = [one.id for one in look.models if not one.is_settled]
        if later and not (look := self._follow_later(probe, later, path, times)):
            return self._say_that_it_ended()
        return self._wait()

    def _follow(self, probe: Probe, progress: Progress, is_over: Callable[[Look], bool]) -> Look | None:
        """Look and show until it is over; None where the service ended first."""
        with progress:
            while self._child.poll() is None:
                look = probe.look()
                self._has_answered |= bool(look.models)
                progress.show(look)
                if is_over(look):
                    return look
                time.sleep(POLL_SECONDS)
        return None

    def _follow_later(self, probe: Probe, models: list[str], path: Path, times: Times) -> Look | None:
        """Go on with the models that start behind the first ones."""

        def is_settled(look: Look) -> bool:
            return bool(look.models) and all(one.is_settled for one in look.models)

        look = self._follow(probe, _progress(models, path, times), is_settled)
        if look is not None:
            failed = sum(not one.is_up for one in look.models)
            print(f"{failed} of {len(look.models)} models failed." if failed else "Every model is ready.", flush=True)
        return look

    def _wait(self) -> int:
        """Wait until it ends by itself. Returns the exit status."""
        while self._child.poll() is None:
            self._log.begin_anew_if_large()
            time.sleep(POLL_SECONDS)
        return self._say_that_it_ended()

    def _say_that_it_ended(self) -> int:
        print(f"\nThe service has ended. The last lines of {self._log.path}:\n", flush=True)
        print(*self._log.tail(), sep="\n", flush=True)
        return ENDED

    def stop(self) -> None:
        """Stop the service and everything that it started on this machine; a second signal does so at once."""
        more = f" Requests under way have {DRAIN_SECONDS:.0f} s; Ctrl-C again ends them now." * self._has_answered
        print(f"\nStopping ...{more}", flush=True)
        started = psutil.Process(self._child.pid).children(recursive=True) if self._child.poll() is None else []
        self._child.send_signal(signal.SIGINT)
        with suppress(KeyboardInterrupt):
            self._wait_until_stopped(started)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the rest takes a moment
        started += _children_of(started)  # Serve may have started more meanwhile, such as another HAProxy
        if self._child.poll() is None:
            self._child.kill()
        _, alive = psutil.wait_procs(started, timeout=LAST_SECONDS)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=LAST_SECONDS)

    def _wait_until_stopped(self, started: list[psutil.Process]) -> None:
        """At most as long as requests have, and then as long as the rest has."""
        gateways = [one for one in started if self._has_answered and _is_named(one, self._gateway)]
        elsewhere = "RAY_ADDRESS" in os.environ  # the gateway's end cannot be seen from here
        begun = quiet = time.monotonic()  # from `quiet` on no request is under way
        while self._child.poll() is None and time.monotonic() - quiet < STOP_SECONDS:
            time.sleep(0.1)
            if (elsewhere or any(map(runs, gateways))) and time.monotonic() - begun < DRAIN_SECONDS:
                quiet = time.monotonic()


def _progress(models: list[str] | None, path: Path, times: Times) -> Progress:
    console = Console(highlight=False)
    if console.is_terminal:
        return TerminalProgress(models, deploy_command(path), times, console)
    return PlainProgress(deploy_command(path), times)


def _children_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found += process.children(recursive=True)
    return found


def _is_named(process: psutil.Process, name: str) -> bool:
    try:
        return " ".join(process.cmdline()).startswith(name)
    except psutil.Error:
        return False


def runs(process: psutil.Process) -> bool:
    """A zombie has ended: whoever started it has not looked yet."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
