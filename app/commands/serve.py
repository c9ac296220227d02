"""`python -m app serve FILE`: runs a service in the foreground, prints when it is ready, and stops all of it.

It starts a Ray cluster of this user's on this machine, or joins that of RAY_ADDRESS, in a process of its own (see
`app/commands/serve_run.py`): a second Ctrl-C during Ray's clean-up would leave Ray's processes behind.
"""

import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import psutil

from app.commands.held_output import HeldOutput
from app.commands.production_profile import production_variables
from app.config.model_entry import ModelEntry
from app.config.service import Config, read_serve_config
from app.keys import LOCAL_KEY, KeyRing
from app.keys.local import is_local, is_loopback
from contract.fields import ConfigError
from contract.private_folder import claim, private_folder

POLL_SECONDS = 0.5
STOP_SECONDS = 40  # for Serve to drain and Ray to stop; what is left then is killed
QUIET_SECONDS = 60  # of a start that does not get further; then what the service prints may say why
FAILED = " failed: "  # in what the readiness probe says of a model
DEFAULT_HOST, DEFAULT_PORT = "0.0.0.0", 8000  # noqa: S104 - Serve's, where a config file names none
FIRST_QUESTION = "What is the capital of France?"  # without a quote: it stands in a line for a shell
PORTICO = Path(sys.executable).with_name("portico")
RAY_VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0"}
# Makes the node that is started here one of 127.0.0.1, where its ports are. Ray has it for the desktops in its name. A
# Ray elsewhere cannot be joined with it.
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def serve(path: Path) -> int:
    """Run the service of a Serve config file until it ends or a signal stops it. Returns the exit status."""
    content, config = read_serve_config(path)
    options = content.get("http_options") or {}
    host, port = options.get("host", DEFAULT_HOST), options.get("port", DEFAULT_PORT)
    check_local_key(config, host)
    KeyRing(config.keys, config.key_path())  # a key file that cannot be used fails here, not in a replica
    _check_port(host, port)
    command = [sys.executable, "-m", "app.commands.serve_run", str(path)]
    # Before the child starts: it would inherit that a signal is ignored, as shells arrange for background jobs.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _raise_interrupt)
    # On a terminal only: a log file has all of it.
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if sys.stdout.isatty() else {}
    child = start(command, port, **piped)
    output = HeldOutput(child.stdout) if child.stdout else None
    started = False
    try:
        if _wait_until_ready(child, Probe(host, port, config.start_first), output):
            print(banner(config, host, port, path), flush=True)
            started = True
            if config.start_first and _wait_until_ready(child, Probe(host, port), None):
                print("Every model is ready.", flush=True)
        status = child.wait()
    except KeyboardInterrupt:
        if output:
            if not started:
                output.release()  # it may say why the start took so long
            output.hold()
        print("\nStopping ...", flush=True)
        _stop(child)
        return 0
    if output:
        output.join(POLL_SECONDS)
    return status


def check_local_key(config: Config, host: str) -> None:
    """The key that everybody knows is good on loopback only. Raises ConfigError."""
    if not is_loopback(host) and any(map(is_local, config.keys)):
        raise ConfigError(
            f"keys: the local key is public, so it may not serve {host}. Remove it (`python -m app keys create` makes "
            "a key), or set http_options.host to 127.0.0.1"
        )


def start(command: list[str], port: int, **options: Any) -> subprocess.Popen[bytes]:
    """Start the service of `port`, whose files are this user's alone. Raises ConfigError where some are not.

    Ray opens its folder to every user, so that lies in one that is not open. Whoever reads Ray's token runs code.
    """
    token = Path.home() / ".ray" / "auth_token"
    try:
        own = {} if "RAY_ADDRESS" in os.environ else ON_LOOPBACK
        environment = (
            RAY_VARIABLES | own | {"RAY_TMPDIR": private_folder()} | production_variables(port) | dict(os.environ)
        )
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


def _wait_until_ready(child: subprocess.Popen[bytes], probe: "Probe", output: HeldOutput | None) -> bool:
    """Ask the readiness probe until it succeeds; false where the service ended first. Prints what it waits for.

    What the service prints meanwhile is shown where it ends, where a model fails, and where nothing changes for long.
    """
    message, since = "", time.monotonic()
    while child.poll() is None:
        state = probe.ask()
        if state is None:
            if output:
                output.discard()
            return True
        if state != message:
            message, since = state, time.monotonic()
            print(f"Waiting: {state}", flush=True)
        if output and (FAILED in state or time.monotonic() - since > QUIET_SECONDS):
            output.release()
        time.sleep(POLL_SECONDS)
    if output:
        output.release()
        output.join(POLL_SECONDS)
    return False


class Probe:
    """The readiness probe of a service."""

    def __init__(self, host: str, port: int, models: list[str] | None = None) -> None:
        """`models`: the ids of those that it is about; none: of all."""
        query = urllib.parse.urlencode([("model", model) for model in models or ()])
        self._url = f"http://{host}:{port}/ready?{query}"

    def ask(self) -> str | None:
        """None where they are ready, else the message of what is waited for."""
        try:
            with urllib.request.urlopen(self._url, timeout=5):  # noqa: S310 - http, to this machine
                return None
        except urllib.error.HTTPError as error:
            return _message(error.read())
        except (OSError, http.client.HTTPException):  # nobody there yet, or another program that is on its way out
            return "the service is starting."


def _message(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "the service is starting."


def banner(config: Config, host: str, port: int, path: Path) -> str:
    origin = f"http://{host}:{port}"
    base_url = f"{origin}/v1"
    page = f"  Page      {origin}/\n" if config.console.enabled else ""
    local = any(map(is_local, config.keys))
    key = LOCAL_KEY if local else "YOUR_KEY"
    return (
        f"\nPortico is ready.\n"
        f"{page}"
        f"  Base URL  {base_url}\n"
        f"  API key   {LOCAL_KEY if local else 'one of those you made'}\n"
        f"  Models    {', '.join(_models(config))}\n\n"
        f"curl {base_url}{_first_request(_first(config))} -H 'Authorization: Bearer {key}'\n\n"
        f"Ctrl-C stops it. After a change of its file:\n"
        f"{shlex.join([os.path.relpath(PORTICO), 'deploy', str(path)])}\n"
    )


def _models(config: Config) -> list[str]:
    """Their ids; those that start behind others say so."""
    first = _first(config)
    return [model.id if model in first else f"{model.id} (starting)" for model in config.models]


def _first(config: Config) -> list[ModelEntry]:
    """Those that are up when the service is said to be ready."""
    return [model for model in config.models if not config.start_first or model.id in config.start_first]


def _first_request(models: list[ModelEntry]) -> str:
    """What follows the base URL in a curl line: a chat if one can be had, else the list of models."""
    chat = next((model.id for model in models if model.task == "chat"), None)
    if chat is None:
        return "/models"
    message = {"role": "user", "content": FIRST_QUESTION}
    request = {"model": chat, "messages": [message], "temperature": 0, "max_tokens": 64, "stream": True}
    body = orjson.dumps(request).decode()
    return f"/chat/completions -N -d '{body}'"


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Stop the service and everything that it started on this machine."""
    started = psutil.Process(child.pid).children(recursive=True)
    child.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
            break
        except subprocess.TimeoutExpired:
            child.kill()
        except KeyboardInterrupt:
            child.kill()  # a second signal: at once
    _, alive = psutil.wait_procs(started, timeout=max(1.0, deadline - time.monotonic()) if child.returncode == 0 else 1)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=5)
