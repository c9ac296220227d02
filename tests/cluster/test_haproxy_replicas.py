"""What HAProxy does with requests where gateway replicas die, stop and are replaced."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import psutil
import pytest
from ray.serve._private.constants import RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S

from tests.cluster.haproxy_door import Gateway, accepts, gateway
from tests.own_ports import free_port

CONNECTIONS = 32


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
