"""A client that goes away: the engine is free of its request within one second."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import ray
from ray import serve

from app.keys import LOCAL_KEY
from tests.conftest import Service
from tests.contract.conftest import MESSAGES, MODEL, NO_END


@pytest.fixture(scope="module")
def replica(service: Service) -> Iterator[Any]:
    """A handle to the model's deployment, past the gateway."""
    ray.init(address=service.ray_address, namespace="serve", log_to_driver=False)
    yield serve.get_deployment_handle(MODEL, "portico")
    ray.shutdown()


def unfinished(replica: Any) -> int:
    return int(replica.unfinished_requests.remote().result(timeout_s=10))


def wait_for(replica: Any, busy: bool, seconds: float) -> float:
    """Wait until the engine works, or works no more. Returns the seconds it took."""
    start = time.monotonic()
    while (unfinished(replica) > 0) is not busy:
        assert time.monotonic() - start < seconds, f"the engine was not {'busy' if busy else 'free'} in {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("stream", "read_first"), [(True, True), (True, False), (False, False)],
    ids=["mid-stream", "before the first byte of a stream", "before a whole answer"],
)  # fmt: skip
def test_a_disconnect_frees_the_engine_within_a_second(
    service: Service, replica: Any, stream: bool, read_first: bool
) -> None:
    wait_for(replica, busy=False, seconds=5)
    body = orjson.dumps(
        {"model": MODEL, "messages": MESSAGES, "max_tokens": 1900, "logit_bias": NO_END, "stream": stream}
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {LOCAL_KEY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        if read_first:
            received = b""
            while b"data: " not in received:
                received += connection.recv(4096)
        wait_for(replica, busy=True, seconds=5)
    assert wait_for(replica, busy=False, seconds=5) <= 1.0
