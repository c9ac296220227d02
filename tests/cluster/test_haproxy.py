"""HAProxy's bounds on clients and its answers: Serve's own configuration with the variables of serve.env, through
cluster/haproxy.
"""

import asyncio
import os
import re
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from ray.serve._private.http_util import start_asgi_http_server
from ray.serve.config import HTTPOptions

from app.edge import Edge
from app.tokens.signed_token import MAX_LENGTH
from contract.errors import ApiError, service_starting
from tests.cluster.haproxy_door import CLUSTER, Gateway
from tests.malformed_http import REQUESTS, send
from tests.own_ports import free_port

ENVELOPE = {"message", "type", "code", "param"}
HALF_OPEN = 500
CLOSED_SECONDS = 40  # far over those, for a machine that has other work
KEPT = {
    "half a request line": b"GET /v1/mod",
    "half the headers": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-",
    "a body a byte a second": b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
}


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


@pytest.mark.parametrize("sent", ["7f4df2d1-4c3b-4a53-9c1c-6f0e1b6f9d0a", "no UUID", None])
def test_an_answer_of_haproxy_s_own_has_the_client_s_id(door: Callable[..., int], sent: str | None) -> None:
    headers = {} if sent is None else {"x-request-id": sent}
    for servers in ([], [free_port()]):
        answer = httpx.get(f"http://127.0.0.1:{door(servers)}/v1/models", headers=headers, timeout=30)
        assert answer.status_code == 503
        assert answer.headers.get_list("x-request-id") == [str(uuid.UUID(answer.headers["x-request-id"]))]
        assert (answer.headers["x-request-id"] == sent) is (sent is not None and sent != "no UUID")


def test_the_longest_token_passes(door: Callable[..., int], replica: Gateway) -> None:
    headers = {"authorization": f"Bearer {'t' * MAX_LENGTH}"}
    assert httpx.get(f"http://127.0.0.1:{door([replica.port])}/v1/models", headers=headers, timeout=30).text == "ok"


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


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/alpha/messages?beta=true"])
def test_an_answer_of_haproxy_s_own_to_a_client_of_anthropic_s_has_its_envelope(
    door: Callable[..., int], path: str
) -> None:
    for servers, error in (([], service_starting()), ([free_port()], ApiError("overloaded", "No gateway is ready"))):
        answer = httpx.post(f"http://127.0.0.1:{door(servers)}{path}", json={}, timeout=30)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, str(error.retry_after))
        request_id = answer.headers["request-id"]
        assert answer.headers["x-request-id"] == request_id
        content = answer.json()
        assert (content["type"], content["request_id"]) == ("error", request_id)
        assert content["error"]["type"] == "overloaded_error"
        assert content["error"]["message"].startswith(error.message)


def test_an_answer_of_haproxy_s_own_on_other_routes_has_openai_s(door: Callable[..., int]) -> None:
    answer = httpx.get(f"http://127.0.0.1:{door([])}/v1/models", timeout=30)
    assert answer.json() == service_starting().envelope()
