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
from tests.contract.conftest import MESSAGES, MODEL, NO_END


@pytest.fixture(scope="module")
def replica(service: Service) -> Iterator[Any]:
    """A handle to the model's deployment, past the gateway."""
    ray.init(address=service.ray_address, namespace="serve", log_to_driver=False)
    yield serve.get_deployment_handle(MODEL, "portico")
    ray.shutdown()


async def wait_for(replica: Any, busy: bool, seconds: float) -> float:
    """Wait until the engine works, or works no more. Returns the seconds it took."""
    start = time.monotonic()
    while (await replica.unfinished_requests.remote() > 0) is not busy:
        assert time.monotonic() - start < seconds, f"the engine was not {'busy' if busy else 'free'} in {seconds} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("stream", "read_first"), [(True, True), (True, False), (False, False)],
    ids=["mid-stream", "before the first byte of a stream", "before a whole answer"],
)  # fmt: skip
async def test_a_disconnect_frees_the_engine_within_a_second(
    service: Service, replica: Any, stream: bool, read_first: bool
) -> None:
    await wait_for(replica, busy=False, seconds=10)
    # Two thousand tokens take this model several seconds; eight such answers keep it busy for longer than that.
    body = orjson.dumps(
        {"model": MODEL, "messages": MESSAGES, "max_tokens": 1900, "n": 8, "logit_bias": NO_END, "stream": stream}
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {LOCAL_KEY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(head.encode() + body)
    if read_first:
        await asyncio.wait_for(reader.readuntil(b"data: "), 10)
    await wait_for(replica, busy=True, seconds=10)
    writer.close()
    assert await wait_for(replica, busy=False, seconds=10) <= 1.0
