"""HAProxy as each node runs it: Serve's own configuration with the variables of serve.env, through cluster/haproxy.

Small servers stand behind it in place of the gateway.
"""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import httpx
import psutil
import pytest
from ray.serve._private.constants import RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S
from ray.serve._private.http_util import start_asgi_http_server
from ray.serve.config import HTTPOptions

from app.edge import Edge
from contract.errors import ApiError
from contract.project import PROJECT_FOLDER
from tests.malformed_http import REQUESTS, send
from tests.own_ports import free_port

CLUSTER = PROJECT_FOLDER / "cluster"
ENVELOPE = {"message", "type", "code", "param"}
START_SECONDS = 30
HALF_OPEN = 500
HEAD_SECONDS = 3
CONNECTIONS = 32
CLOSED_SECONDS = 40  # far over those, for a machine that has other work
KEPT = {
    "half a request line": b"GET /v1/mod",
    "half the headers": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-",
    "a body a byte a second": b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
}


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


@pytest.fixture(scope="module")
def render() -> Iterator[Renderer]:
    command: list[str | Path] = [CLUSTER / "with-profile", sys.executable, "-m", "tests.cluster.rendered_haproxy"]
    with subprocess.Popen(
        command, cwd=PROJECT_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Renderer(process)
        process.communicate()


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


@pytest.fixture
def door(render: Renderer, tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Starts HAProxy before servers; returns its port."""
    with ExitStack() as stack:
        yield lambda servers, fallback=None, **variables: stack.enter_context(
            haproxy(render, tmp_path, servers, fallback, **variables)
        )


@pytest.fixture(scope="module")
def template(render: Renderer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Serve's configuration for one gateway replica, which is not there."""
    return render(tmp_path_factory.mktemp("rendered"), free_port(), [free_port()]).read_text()


@pytest.fixture
def rendered(template: str, tmp_path: Path) -> Path:
    """A file of it, for this test to change."""
    file = tmp_path / "haproxy.cfg"
    file.write_text(template)
    return file


@pytest.fixture
def replica() -> Iterator[Gateway]:
    with gateway() as server:
        yield server


def closed(client: socket.socket, deadline: float) -> bool:
    client.settimeout(max(0.01, deadline - time.monotonic()))
    try:
        while client.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_half_open_clients_are_closed_and_others_are_served_meanwhile(
    door: Callable[..., int], replica: Gateway
) -> None:
    port = door([replica.port])
    begun = list(KEPT.values())
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(HALF_OPEN)]
        for number, client in enumerate(clients):
            client.sendall(begun[number % len(begun)])
        slow = clients[len(begun) - 1 :: len(begun)]
        deadline = time.monotonic() + CLOSED_SECONDS
        for _ in range(2):
            assert httpx.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
            for client in slow:
                client.sendall(b" ")
            time.sleep(1)
        assert [client for client in clients if not closed(client, deadline)] == []
    assert set(replica.paths) == {"/v1/models"}, "a gateway was given a request that is not complete"


def test_a_body_that_does_not_come_is_answered_408_in_the_envelope(door: Callable[..., int], replica: Gateway) -> None:
    answer = send(door([replica.port]), KEPT["a body a byte a second"])
    assert (answer.status, answer.is_refusal()) == (408, True)


def test_an_address_has_so_many_connections_and_another_is_served(door: Callable[..., int], replica: Gateway) -> None:
    port = door([replica.port], PORTICO_CONNECTIONS_PER_ADDRESS="20")
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(40)]
        for client in clients:
            with suppress(ConnectionError):
                client.sendall(KEPT["half a request line"])
        with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as other:
            assert other.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
        assert 20 <= sum(not answered(client) for client in clients) < 40


def answered(client: socket.socket) -> bool:
    """Whether HAProxy took the connection: then it says that the request did not come in time."""
    client.settimeout(CLOSED_SECONDS)
    try:
        return client.recv(4096).startswith(b"HTTP/1.1 408")
    except ConnectionError:
        return False


@pytest.mark.parametrize("limit", ["", "many", "-1"])
def test_a_limit_that_is_no_number_is_named(rendered: Path, limit: str) -> None:
    result = check(rendered, PORTICO_CONNECTIONS_PER_ADDRESS=limit)
    assert result.returncode != 0
    assert f"PORTICO_CONNECTIONS_PER_ADDRESS is {limit!r} and must be a number" in result.stderr


@pytest.mark.parametrize("seconds", ["", "0", "61", "1.5"])
def test_a_time_limit_that_is_none_is_named(rendered: Path, seconds: str) -> None:
    result = check(rendered, PORTICO_HEAD_TIMEOUT_S=seconds)
    assert result.returncode != 0
    assert f"PORTICO_HEAD_TIMEOUT_S is {seconds!r} and must be a whole number of seconds" in result.stderr


def check(config: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [CLUSTER / "haproxy", "-c", "-f", config]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("connections", ["0", "100"])
def test_the_configuration_is_valid_and_stays_as_it_is_when_it_is_read_again(rendered: Path, connections: str) -> None:
    variables = {"PORTICO_CONNECTIONS_PER_ADDRESS": connections}
    assert "Configuration file is valid" in check(rendered, **variables).stdout
    once = rendered.read_text()
    assert ("sc0_conn_cur gt 100" in once) == (connections == "100")
    assert "Configuration file is valid" in check(rendered, **variables).stdout
    assert rendered.read_text() == once


@pytest.mark.parametrize(
    "line",
    ["stats socket", "frontend prometheus", "listen stats", "timeout http-keep-alive", "errorfile 503",
     "frontend http_frontend", "http-request return status 404"],
)  # fmt: skip
def test_haproxy_does_not_start_where_a_line_that_must_change_is_missing(rendered: Path, line: str) -> None:
    text, count = re.subn(f"(?m)^ *{line}.*$", "    # gone", rendered.read_text(), count=1)
    assert count == 1
    rendered.write_text(text)
    result = check(rendered)
    assert result.returncode != 0
    assert "cluster/haproxy: Ray's HAProxy configuration has no line like" in result.stderr
    assert "Configuration file is valid" not in result.stdout


def test_statistics_and_metrics_are_on_loopback_and_the_socket_is_its_owner_s(
    door: Callable[..., int], replica: Gateway, tmp_path: Path
) -> None:
    door([replica.port])
    binds = [line.split()[1] for line in (tmp_path / "haproxy.cfg").read_text().splitlines() if "bind " in line]
    assert len(binds) == 3
    assert all(bind.startswith("127.0.0.1:") for bind in binds)
    assert (tmp_path / "admin.sock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("before", [[], ["/v1/models"]], ids=["on a new connection", "on one that was used before"])
def test_a_request_that_ends_its_replica_is_answered_and_not_given_to_another(
    door: Callable[..., int], replica: Gateway, before: list[str]
) -> None:
    with gateway() as second:
        port = door([replica.port, second.port])
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for path in before:
                assert client.post(path, content=b"{}").status_code == 200
            answer = client.post("/dies", content=b"poison")
        assert sorted([*replica.paths, *second.paths]) == sorted([*before, "/dies"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")


def test_a_request_that_no_replica_has_seen_is_given_to_another(door: Callable[..., int], replica: Gateway) -> None:
    port = door([free_port(), replica.port])
    answers = [httpx.post(f"http://127.0.0.1:{port}/v1/models", content=b"{}").status_code for _ in range(4)]
    assert answers == [200] * 4


def test_a_kept_connection_outlives_the_gateway_replicas_that_haproxy_knew_when_it_was_reloaded(
    door: Callable[..., int], replica: Gateway
) -> None:
    """It stays with the process of before, whose replicas may all be replaced: Serve's proxy gets its request."""
    with ExitStack() as replicas:
        servers = [replicas.enter_context(gateway()).port for _ in range(2)]
        with httpx.Client(base_url=f"http://127.0.0.1:{(port := door(servers, replica.port))}", timeout=30) as client:
            assert client.post("/v1/models", content=b"{}").status_code == 200
            soft_stop(port)
            replicas.close()
            answer = client.post("/v1/models", content=b"{}")
    assert answer.status_code == 200, answer.text
    assert replica.paths == ["/v1/models"]


def test_a_gateway_replica_that_stops_has_its_connections_end_and_its_clients_keep_theirs(
    door: Callable[..., int], replica: Gateway
) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{door([replica.port])}") as client:
        for path in ("/v1/models", "/v1/models", "/stops", "/stops"):
            answer = client.post(path, content=b"{}")
            assert (answer.status_code, answer.headers.get("connection")) == (200, None)
    assert replica.used == [0, 0, 0, 1]


def test_idle_connections_to_a_gateway_replica_are_closed_long_before_its_drain_time_ends(
    door: Callable[..., int], replica: Gateway
) -> None:
    """It would close them as it ends, and a request that came meanwhile with them."""
    port = door([replica.port])
    replica.together = threading.Barrier(CONNECTIONS).wait  # so that each has a connection of its own
    with ThreadPoolExecutor(CONNECTIONS) as clients:
        answers = clients.map(httpx.get, [f"http://127.0.0.1:{port}/together"] * CONNECTIONS)
        assert {answer.status_code for answer in answers} == {200}
    assert len(set(replica.used)) == CONNECTIONS
    deadline = time.monotonic() + RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S / 2
    while replica.open:
        assert time.monotonic() < deadline, f"{len(replica.open)} are still open"
        time.sleep(0.2)


def soft_stop(port: int) -> None:
    """What a reload does to the process before: it takes no connection any more, and keeps those that it has."""
    (process,) = {one.pid for one in psutil.net_connections("tcp") if one.laddr.port == port and one.status == "LISTEN"}
    os.kill(process, signal.SIGUSR1)
    while accepts(port):
        time.sleep(0.05)


@pytest.mark.parametrize("sent", [str(uuid.uuid4()), "no UUID", None])
def test_an_answer_of_haproxy_s_own_has_the_client_s_id(door: Callable[..., int], sent: str | None) -> None:
    headers = {} if sent is None else {"x-request-id": sent}
    for servers in ([], [free_port()]):
        answer = httpx.get(f"http://127.0.0.1:{door(servers)}/v1/models", headers=headers, timeout=30)
        assert answer.status_code == 503
        assert answer.headers.get_list("x-request-id") == [str(uuid.UUID(answer.headers["x-request-id"]))]
        assert (answer.headers["x-request-id"] == sent) is (sent is not None and sent != "no UUID")


def test_no_client_has_an_hour(rendered: Path) -> None:
    check(rendered)
    lines = [line.strip() for line in rendered.read_text().splitlines()]
    timeouts = [line for line in lines if line.startswith(("timeout client", "timeout http-"))]
    assert sorted(timeouts) == ["timeout client 180s", "timeout http-keep-alive 60s", "timeout http-request 10s"]


def test_only_a_connection_that_could_not_be_opened_is_tried_again(rendered: Path) -> None:
    lines = [line.strip() for line in rendered.read_text().splitlines()]
    rules = [line for line in lines if line.startswith(("retry-on ", "retries ", "option redispatch"))]
    assert sorted(rules) == ["option redispatch 1", "retries 10", "retry-on conn-failure"]


@pytest.mark.parametrize(("servers", "code"), [(1, "overloaded"), (0, "model_starting")])
def test_haproxy_s_own_503_is_in_the_envelope(door: Callable[..., int], servers: int, code: str) -> None:
    answer = httpx.get(f"http://127.0.0.1:{door([free_port() for _ in range(servers)])}/v1/models")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json")
    assert answer.json()["error"]["code"] == code
    assert set(answer.json()["error"]) == ENVELOPE
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-request-id"]


@contextmanager
def serve_s_http_server() -> Iterator[int]:
    """A gateway replica's own HTTP server, which knows no URL. Yields its port."""
    options = HTTPOptions(host="127.0.0.1", port=free_port())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    starting = start_asgi_http_server(cast(Any, Edge(knows_nothing)), options, event_loop=loop)
    serving, server = asyncio.run_coroutine_threadsafe(starting, loop).result()
    try:
        yield options.port
    finally:
        server.should_exit = True
        asyncio.run_coroutine_threadsafe(asyncio.wait([serving]), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def knows_nothing(scope: dict[str, Any], receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    healthy = scope["path"] == "/-/healthz"
    error = ApiError("unknown_url", "There is nothing at this URL.")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(error.body())).encode())]
    await send({"type": "http.response.start", "status": 200 if healthy else error.status, "headers": headers})
    await send({"type": "http.response.body", "body": error.body()})


def test_malformed_requests_are_refused_and_the_next_is_served(door: Callable[..., int]) -> None:
    with serve_s_http_server() as server:
        port = door([server])
        answers = {name: send(port, request) for name, request in REQUESTS.items()}
        assert {name: answer for name, answer in answers.items() if not answer.is_refusal()} == {}
        assert httpx.get(f"http://127.0.0.1:{port}/-/healthz").status_code == 200
