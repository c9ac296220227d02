"""What `python -m app serve` shows on a terminal, with a stand-in for Ray that prints as much as Ray does."""

import os
import pty
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from app.commands.serve import Probe
from contract.project import PROJECT_FOLDER

# Starts in the place of `serve run`.
STAND_IN = """
import http.server, json, signal, sys, time
print("INFO a replica is added", flush=True)
if sys.argv[2] == "ends":
    sys.exit("ERROR it has no weights")
ends_in = {"fails": "alpha failed: it has no weights", "waits": "alpha is starting", "starts": ""}
states = ["alpha is starting", ends_in[sys.argv[2]]]
rest = ["beta is starting", "beta is starting", ""]  # of all models, once alpha is up
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        left = states if "model=" in self.path else rest
        state = left.pop(0) if len(left) > 1 else left[0]
        body = json.dumps({"error": {"message": state}} if state else {}).encode()
        self.send_response(503 if state else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if not state and left is rest:
            server.ready = True
    def log_message(self, *_): pass
def stop(*_):
    print("ERROR an actor was killed", flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, stop)
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready)
server.ready, server.timeout = False, 0.2
while True:
    server.handle_request()
    if server.ready:
        server.ready = False
        time.sleep(1)
        print("a request was answered", flush=True)
"""
SERVE = """
import subprocess, sys
from pathlib import Path
from app.commands import serve
def start(command, port, **options):
    return subprocess.Popen([sys.executable, "-c", *sys.argv[2:]], start_new_session=True, **options)
serve.start = start
serve.QUIET_SECONDS = 2
sys.exit(serve.serve(Path(sys.argv[1])))
"""


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, config: Path, port: int, behaviour: str) -> None:
        self.process, self._terminal = pty.fork()
        if self.process == 0:
            arguments = ["-c", SERVE, str(config), STAND_IN, str(port), behaviour]
            os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - our own command
        self.text = ""

    def read_until(self, text: str) -> None:
        """Read what is shown until `text` is, or until the end; at most a minute."""
        deadline = time.monotonic() + 60
        while text not in self.text and time.monotonic() < deadline:
            try:
                shown = os.read(self._terminal, 4096)
            except OSError:  # the end, on Linux
                return
            self.text += shown.decode()

    def press_ctrl_c(self) -> None:
        os.write(self._terminal, b"\x03")

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


@pytest.fixture
def config(tmp_path: Path) -> tuple[Path, int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    content = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "local.yaml").read_text())
    content["http_options"]["port"] = port
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(content))
    return path, port


def test_its_own_lines_while_it_starts_and_stops_and_the_services_in_between(config: tuple[Path, int]) -> None:
    terminal = Terminal(*config, "starts")
    terminal.read_until("a request was answered")
    terminal.press_ctrl_c()
    terminal.read_until("the end")
    assert terminal.status() == 0
    assert "Waiting: alpha is starting" in terminal.text
    assert "Portico is ready." in terminal.text
    assert "all-minilm-l6-v2 (starting)" in terminal.text
    banner, others, ready = (terminal.text.index(text) for text in ("Portico is", "Waiting: beta", "Every model is"))
    assert banner < others < ready
    assert "a request was answered" in terminal.text
    assert "Stopping ..." in terminal.text
    assert "INFO" not in terminal.text
    assert "ERROR" not in terminal.text


def test_a_model_that_fails_shows_what_was_held_back(config: tuple[Path, int]) -> None:
    terminal = Terminal(*config, "fails")
    terminal.read_until("INFO a replica is added")
    os.kill(terminal.process, signal.SIGTERM)
    terminal.read_until("the end")
    assert terminal.status() == 0
    assert "Waiting: alpha failed: it has no weights" in terminal.text
    assert "INFO a replica is added" in terminal.text


def test_a_start_that_gets_no_further_shows_what_was_held_back(config: tuple[Path, int]) -> None:
    terminal = Terminal(*config, "waits")
    terminal.read_until("INFO a replica is added")
    terminal.press_ctrl_c()
    terminal.read_until("the end")
    assert terminal.status() == 0
    assert "Waiting: alpha is starting" in terminal.text
    assert "INFO a replica is added" in terminal.text


def test_a_service_that_ends_shows_why(config: tuple[Path, int]) -> None:
    terminal = Terminal(*config, "ends")
    terminal.read_until("ERROR it has no weights")
    terminal.read_until("the end")
    assert terminal.status() == 1
    assert "INFO a replica is added" in terminal.text
    assert "Portico is ready." not in terminal.text


def test_what_is_no_http_at_its_port_is_no_answer_yet() -> None:
    """Such as another program's gRPC, where the port was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"\x00\x00\x12\x04\x00\n")

        other = threading.Thread(target=answer)
        other.start()
        assert Probe("127.0.0.1", server.getsockname()[1]).ask() == "the service is starting."
        other.join()
