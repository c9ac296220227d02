"""`portico serve FILE`: runs a service in the foreground, shows how far its models are, and stops all of it.

It starts a Ray cluster of this user's on this machine, or joins that of RAY_ADDRESS, in a process of its own (see
`app/commands/serve_run.py`): a second Ctrl-C during Ray's clean-up would leave Ray's processes behind.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from app.commands.findings.whole_file import refuse_faults
from app.commands.foreground import Foreground
from app.commands.http_options import host_of, port_of
from app.commands.production_profile import production_variables
from app.commands.serve_log import ServeLog
from app.commands.services import LocalService, written_down
from app.config.service import read_serve_config
from app.keys import KeyRing
from contract.fields import ConfigError
from contract.private_folder import claim, private_folder

# Makes the node that is started here one of 127.0.0.1, where its ports are. Ray has it for the desktops in its name. A
# Ray elsewhere cannot be joined with it.
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Engines on CPUs take all cores where their entry names no number; Ray's own default is what it reserves for a replica.
# NumPy's library would start as many threads in every process, the gateway's too.
THREADS = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), "OPENBLAS_NUM_THREADS": "1"}


def serve(path: Path, metrics_port: int = 0) -> int:
    """Run the service of a Serve config file until it ends or a signal stops it. Returns the exit status.

    `metrics_port` is where the metrics agent of a Ray that starts here listens; 0: at a free port. Raises ConfigError,
    which names all that is wrong in the file.
    """
    refuse_faults(path, quick=True)
    content, config = read_serve_config(path)
    KeyRing(config.keys, config.key_path())  # a key file that is not there fails here, not in a replica
    host, port = host_of(content), port_of(content)
    _check_port(host, port)
    log = _opened_log(port)
    # Before the child starts: it would inherit that a signal is ignored, as shells arrange for background jobs.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _raise_interrupt)
    print(f"Starting {path}. All else that it prints is in {log.path}\n", flush=True)
    command = [sys.executable, "-m", "app.commands.serve_run", str(path), str(metrics_port)]
    child = start(command, port, stdout=log.descriptor, stderr=log.descriptor)
    service = Foreground(child, log, content["applications"][0].get("name", "default"))
    with written_down(LocalService.of_this_process(path, content)):
        try:
            return service.run(config, host, port, path)
        except KeyboardInterrupt:
            service.stop()
            return 0


def _opened_log(port: int) -> ServeLog:
    try:
        return ServeLog(port)
    except OSError as error:
        raise ConfigError(f"the log of the service cannot be written: {error}") from None


def start(command: list[str], port: int, **options: Any) -> subprocess.Popen[bytes]:
    """Start the service of `port`, whose files are this user's alone. Raises ConfigError where some are not.

    Ray opens its folder to every user, so that lies in one that is not open. Whoever reads Ray's token runs code.
    """
    token = Path.home() / ".ray" / "auth_token"
    try:
        own = {} if "RAY_ADDRESS" in os.environ else ON_LOOPBACK | THREADS
        environment = own | {"RAY_TMPDIR": private_folder()} | production_variables(port) | dict(os.environ)
        if token.exists():
            claim(str(token))
    except PermissionError as error:
        raise ConfigError(str(error)) from None
    # Its own session: Ctrl-C reaches this process only, which passes it on once.
    return subprocess.Popen(  # noqa: S603 - no shell, no input
        command, start_new_session=True, env=environment, umask=0o077, **options
    )


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"http_options: {host}:{port} cannot be served ({error.strerror}). Stop what uses it, or choose "
                "another port"
            ) from None


def _raise_interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
