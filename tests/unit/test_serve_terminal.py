"""What `portico serve` shows on a terminal, with a stand-in for Ray that prints as much as Ray does."""

import os
import pty
import re
import signal
import socket
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

import pytest
import yaml

from app.commands import serve_log
from app.commands.serve_probe import Look, Probe
from contract.project import PROJECT_FOLDER

FIRST, SECOND = "smollm2-135m-instruct", "shapes"  # the first one is first to start
# Starts in the place of `serve run`. Every second look finds the models one step further.
STAND_IN = """
import http.server, json, signal, sys, time
print("INFO a replica is added", flush=True)
port, first, second, behaviour = int(sys.argv[1]), *sys.argv[2:]
if behaviour == "ends":
    time.sleep(1)
    sys.exit("ERROR it has no weights")
endings = {"one fails": ("ready", "failed"), "all fail": ("failed", "failed"), "starts": ("ready", "ready"),
           "hangs": ("loading", "queued")}
ends = endings[behaviour]
steps = [("queued", "queued"), ("loading", "queued"), ("warming up", "queued"), (ends[0], "queued")]
steps += [(ends[0], "loading"), ends]
steps = [step for step in steps for _ in range(2)]  # a look that a busy machine loses shows nothing
error = {"failed": "RuntimeError: it has no weights"}
if behaviour == "hangs":
    error["loading"] = "a try failed: OSError: the disk is slow"
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        states = steps.pop(0) if len(steps) > 1 else steps[0]
        ids = (first, second)
        models = [{"id": i, "state": s, "error": error.get(s)} for i, s in zip(ids, states)]
        body = json.dumps({"models": models}).encode()
        self.send_response(200 if states == ("ready", "ready") else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        print("INFO a request was answered", flush=True)
    def log_message(self, *_): pass
def stop(*_):
    print("ERROR an actor was killed", flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, stop)
http.server.HTTPServer(("127.0.0.1", port), Ready).serve_forever()
"""
SERVE = """
import subprocess, sys
from pathlib import Path
from app.commands import foreground, serve
def start(command, port, **options):
    return subprocess.Popen([sys.executable, "-c", *sys.argv[2:]], start_new_session=True, **options)
serve.start = start
foreground.POLL_SECONDS = 0.1
sys.exit(serve.serve(Path(sys.argv[1])))
"""


def _switch_echo_off() -> None:
    """An echoed Ctrl-C lands anywhere in a line that is being written; the tests read whole lines."""
    settings = termios.tcgetattr(pty.STDIN_FILENO)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(pty.STDIN_FILENO, termios.TCSANOW, settings)


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, config: Path, port: int, behaviour: str) -> None:
        self.process, self._terminal = pty.fork()
        if self.process == 0:
            _switch_echo_off()
            os.environ |= {"COLUMNS": "200", "TERM": "xterm"}
            arguments = ["-c", SERVE, str(config), STAND_IN, str(port), FIRST, SECOND, behaviour]
            os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - our own command
        self.raw = ""

    @property
    def text(self) -> str:
        """What was shown, without the codes of the terminal."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw)

    def read_until(self, text: str) -> None:
        """Read what is shown until `text` is, or until the end; at most a minute."""
        deadline = time.monotonic() + 60
        while text not in self.text and time.monotonic() < deadline:
            try:
                shown = os.read(self._terminal, 4096)
            except OSError:  # the end, on Linux
                return
            self.raw += shown.decode()

    def screen(self) -> list[str]:
        """What a person sees in the end: rewritten lines as they were written last."""
        lines = [""]
        for code, character in re.findall(r"(\x1b\[[0-9;?]*[a-zA-Z])|(.|\n)", self.raw):
            if code == "\x1b[2K":
                lines[-1] = ""
            elif code == "\x1b[1A":
                lines.pop()
            elif character == "\n":
                lines.append("")
            elif character != "\r":
                lines[-1] += character
        return [line.rstrip() for line in lines]

    def press_ctrl_c(self) -> None:
        os.write(self._terminal, b"\x03")

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, int]:
    """A config file and its port. The log is in a folder of the test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    content = yaml.safe_load((PROJECT_FOLDER / "serve_configs" / "local.yaml").read_text())
    content["http_options"]["port"] = port
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(content))
    return path, port


def test_one_line_for_each_model_the_banner_and_nothing_else(config: tuple[Path, int]) -> None:
    terminal = Terminal(*config, "starts")
    terminal.read_until("Every model is ready.")
    terminal.press_ctrl_c()
    terminal.read_until("the end")
    assert terminal.status() == 0
    for stage in (
        "Starting Ray ... 0 s",
        f"{FIRST}  loading",
        f"{FIRST}  warming up",
        f"{SECOND}                 queued",
    ):
        assert stage in terminal.text
    lines = [line for line in terminal.screen() if line]
    log = serve_log.path_of(config[1])
    assert lines[0] == f"Starting {config[0]}. All else that it prints is in {log}"
    assert re.fullmatch(rf"{FIRST}  ready  \d+ s", lines[1])
    assert lines[2] == "Portico is ready."
    assert f"  Models    {FIRST}, {SECOND} (starting)" in lines
    end = next(number for number, line in enumerate(lines) if "portico deploy" in line)
    assert re.fullmatch(rf"{SECOND}  ready  \d+ s", lines[end + 1])
    assert lines[end + 2] == "Every model is ready."
    assert "Stopping ..." in lines[-1]
    assert "INFO" not in terminal.text
    assert "ERROR" not in terminal.text
    assert {"INFO a replica is added", "ERROR an actor was killed"} <= set(log.read_text().splitlines())


def test_where_one_model_fails_its_line_has_the_error_and_the_others_serve(config: tuple[Path, int]) -> None:
    terminal = Terminal(*config, "one fails")
    terminal.read_until("1 of 2 models failed.")
    os.kill(terminal.process, signal.SIGTERM)
    terminal.read_until("the end")
    assert terminal.status() == 0
    (line,) = [line for line in terminal.screen() if line.startswith(f"{SECOND}  failed")]
    assert "RuntimeError: it has no weights. Mend its entry, then: " in line
    assert line.endswith(f"portico deploy {config[0]}")


def test_where_every_model_fails_the_service_ends(config: tuple[Path, int]) -> None:
    terminal = Terminal(*config, "all fail")
    terminal.read_until("the end")
    assert terminal.status() == 1
    assert sum("RuntimeError: it has no weights" in line for line in terminal.screen()) == 2
    assert "No model is up, so the service ends." in terminal.text
    assert "Portico is ready" not in terminal.text


def test_a_service_that_ends_by_itself_shows_the_end_of_its_log_and_where_it_is(config: tuple[Path, int]) -> None:
    terminal = Terminal(*config, "ends")
    terminal.read_until("the end")
    assert terminal.status() == 1
    _, _, shown = terminal.text.partition(f"The service has ended. The last lines of {serve_log.path_of(config[1])}:")
    assert shown.split() == ["INFO", "a", "replica", "is", "added", "ERROR", "it", "has", "no", "weights"]
    assert "Portico is ready." not in terminal.text


def test_ctrl_c_while_it_starts_leaves_the_lines_as_they_are(config: tuple[Path, int]) -> None:
    terminal = Terminal(*config, "hangs")
    terminal.read_until(f"{FIRST}  loading")
    terminal.press_ctrl_c()
    terminal.read_until("the end")
    assert terminal.status() == 0
    (line,) = [line for line in terminal.screen() if line.startswith(f"{FIRST}  loading")]
    assert line.endswith("a try failed: OSError: the disk is slow")


class TestProbe:
    def test_what_is_no_http_at_its_port_is_no_answer_yet(self) -> None:
        """Such as another program's gRPC, where the port was free a moment ago."""
        with socket.create_server(("127.0.0.1", 0)) as server:

            def answer() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(b"\x00\x00\x12\x04\x00\n")

            other = threading.Thread(target=answer)
            other.start()
            assert Probe("127.0.0.1", server.getsockname()[1]).look() == Look(stage="Starting Ray")
            other.join()

    def test_what_stands_before_the_gateway_answers_for_it_and_what_was_known_stays(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = b'{"models": [{"id": "alpha", "state": "loading", "error": null}]}'
        answers = iter([None, b'{"error": {"message": "The service is starting."}}', known, None, b"{}"])
        probe = Probe("127.0.0.1", 1)
        monkeypatch.setattr(probe, "_ask", lambda: next(answers))
        looks = [probe.look() for _ in range(5)]
        assert [look.stage for look in looks[:2]] == ["Starting Ray", "Starting the gateway"]
        assert [[one.state for one in look.models] for look in looks] == [[], [], ["loading"], ["loading"], ["loading"]]
