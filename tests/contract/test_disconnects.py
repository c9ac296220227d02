"""A client that goes away: the engine is free of its request within one second."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import ray
from ray import serve

from app.keys import LOCAL_KEY
from tests.conftest import Service
from tests.contract.conftest import IMAGE_MODEL, MESSAGES, MODEL, NO_END


@pytest.fixture(scope="module")
def replicas(service: Service) -> Iterator[dict[str, Any]]:
    """Handles to the models' deployments, past the gateway."""
    ray.init(address=service.ray_address, namespace="serve", log_to_driver=False)
    yield {model: serve.get_deployment_handle(model, "portico") for model in (MODEL, IMAGE_MODEL)}
    ray.shutdown()


async def wait_for(replica: Any, busy: bool, seconds: float) -> float:
    """Wait until the engine works, or works no more. Returns the seconds it took."""
    start = time.monotonic()
    while (await replica.unfinished_requests.remote() > 0) is not busy:
        assert time.monotonic() - start < seconds, f"the engine was not {'busy' if busy else 'free'} in {seconds} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - start


# Two thousand tokens, or steps, take these models several seconds, and each request asks for more than one of that.
CHAT = {"model": MODEL, "messages": MESSAGES, "max_tokens": 1900, "n": 8, "logit_bias": NO_END}
IMAGE = {"model": IMAGE_MODEL, "prompt": "a boat", "quality": "high"}


@pytest.mark.parametrize(
    ("path", "request_body", "read_first"),
    [
        pytest.param("chat/completions", CHAT | {"stream": True}, True, id="chat, mid-stream"),
        pytest.param("chat/completions", CHAT | {"stream": True}, False, id="chat, before a stream's first byte"),
        pytest.param("chat/completions", CHAT, False, id="chat, before a whole answer"),
        pytest.param("images/generations", IMAGE | {"stream": True, "partial_images": 3}, True, id="image, mid-stream"),
        pytest.param("images/generations", IMAGE | {"n": 4}, False, id="images, before a whole answer"),
    ],
)
async def test_a_disconnect_frees_the_engine_within_a_second(
    service: Service, replicas: dict[str, Any], path: str, request_body: dict[str, Any], read_first: bool
) -> None:
    replica = replicas[request_body["model"]]
    await wait_for(replica, busy=False, seconds=10)
    body = orjson.dumps(request_body)
    head = (
        f"POST /v1/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {LOCAL_KEY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=2**24)
    writer.write(head.encode() + body)
    if read_first:
        await asyncio.wait_for(reader.readuntil(b"data: "), 20)
    await wait_for(replica, busy=True, seconds=10)
    writer.close()
    assert await wait_for(replica, busy=False, seconds=10) <= 1.0
