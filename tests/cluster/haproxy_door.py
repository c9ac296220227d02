"""HAProxy as each node runs it, before small servers in place of the gateway."""

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from contract.project import PROJECT_FOLDER
from tests.own_ports import free_port

CLUSTER = PROJECT_FOLDER / "cluster"
START_SECONDS = 30
HEAD_SECONDS = 3


class Gateway(ThreadingHTTPServer):
    """A server that answers, or at /dies closes without an answer as a replica does that has died.

    At /stops it closes the connection with its answer, at /together it answers once `together` lets it.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), GatewayHandler)
        self.paths: list[str] = []
        self.used: list[int] = []  # for each request, the number of its connection
        self.open: dict[int, socket.socket] = {}  # by their numbers, those that had a request
        self.together: Callable[[], object] = bool

    @property
    def port(self) -> int:
        return self.server_address[1]


class GatewayHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway
    number: int | None = None  # of this connection

    def do_GET(self) -> None:
        if self.path != "/-/healthz":
            if self.number is None:
                self.number = len({*self.server.used})
                self.server.open[self.number] = self.connection
            self.server.used.append(self.number)
            self.server.paths.append(self.path)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/dies":
            self.close_connection = True
            return
        if self.path == "/together":
            self.server.together()
        self.send_response(200)
        if self.path == "/stops":
            self.send_header("connection", "close")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_GET  # noqa: N815 - http.server's own

    def finish(self) -> None:
        super().finish()
        if self.number is not None:
            self.server.open.pop(self.number, None)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            for connection in list(server.open.values()):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class Renderer:
    """Writes the configuration as Serve does on a node with the variables of serve.env, by one process for all."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __call__(self, folder: Path, port: int, servers: list[int], fallback: int | None = None) -> Path:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([str(folder), port, servers, fallback]), file=self._process.stdin, flush=True)
        assert self._process.stdout.readline(), "the process that renders ended"
        return folder / "haproxy.cfg"


@contextmanager
def haproxy(
    render: Renderer, folder: Path, servers: list[int], fallback: int | None = None, **variables: str
) -> Iterator[int]:
    """HAProxy before these servers. Yields its port."""
    port = free_port()
    config = render(folder, port, servers, fallback)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [CLUSTER / "haproxy", "-db", "-f", config],
            env=os.environ | {"PORTICO_HEAD_TIMEOUT_S": str(HEAD_SECONDS)} | variables,
            stderr=log,
            stdout=log,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not accepts(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


def accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
