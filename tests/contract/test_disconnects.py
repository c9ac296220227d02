"""A client that goes away: the engine is free of its request within one second, or at the next window of Whisper."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import ray
from ray import serve

from app.keys import LOCAL_KEY
from tests.conftest import Service
from tests.contract.conftest import (
    EMBEDDING_MODEL,
    IMAGE_MODEL,
    MESSAGES,
    MODEL,
    NO_END,
    TRANSCRIPTION_MODEL,
)
from tests.recordings import encoded, repeated, voice

MODELS = (MODEL, IMAGE_MODEL, EMBEDDING_MODEL, TRANSCRIPTION_MODEL)


@pytest.fixture(scope="module")
def replicas(service: Service) -> Iterator[dict[str, Any]]:
    """Handles to the models' deployments, past the gateway."""
    ray.init(address=service.ray_address, namespace="serve", log_to_driver=False)
    yield {model: serve.get_deployment_handle(model, "portico") for model in MODELS}
    ray.shutdown()


async def wait_for(replica: Any, busy: bool, seconds: float) -> float:
    """Wait until the engine works, or works no more. Returns the seconds it took."""
    start = time.monotonic()
    while (await replica.unfinished_requests.remote() > 0) is not busy:
        assert time.monotonic() - start < seconds, f"the engine was not {'busy' if busy else 'free'} in {seconds} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - start


# Two thousand tokens, or steps, take these models several seconds, and each request is for more than one of that.
CHAT = {"model": MODEL, "messages": MESSAGES, "max_tokens": 1900, "n": 8, "logit_bias": NO_END}
PROMPTS = {"model": MODEL, "prompt": ["a", "b"], "max_tokens": 1900, "n": 4, "logit_bias": NO_END}
IMAGE = {"model": IMAGE_MODEL, "prompt": "a boat", "quality": "high"}
TEXTS = {"model": EMBEDDING_MODEL, "input": ["a " * 120] * 2048}  # a letter is one token of any tokenizer
RECORDING = {"model": TRANSCRIPTION_MODEL, "file": repeated(encoded(voice(60), "opus", bits_per_second=24_000), 40)}


def prepared(path: str, body: dict[str, Any]) -> bytes:
    """The bytes of a request; one with a file is a form."""
    fields = {name: value for name, value in body.items() if name != "file"}
    given: dict[str, Any] = {"data": fields, "files": {"file": body["file"]}} if "file" in body else {"json": body}
    request = httpx.Request(
        "POST", f"http://localhost/v1/{path}", headers={"authorization": f"Bearer {LOCAL_KEY}"}, **given
    )
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST /v1/{path} HTTP/1.1\r\n{head}\r\n".encode() + request.read()


@pytest.mark.parametrize(
    ("path", "request_body", "read_first"),
    [
        pytest.param("chat/completions", CHAT | {"stream": True}, True, id="chat, mid-stream"),
        pytest.param("chat/completions", CHAT | {"stream": True}, False, id="chat, before a stream's first byte"),
        pytest.param("chat/completions", CHAT, False, id="chat, before a whole answer"),
        pytest.param("completions", PROMPTS | {"stream": True}, True, id="completions, mid-stream"),
        pytest.param("completions", PROMPTS, False, id="completions, before a whole answer"),
        pytest.param("images/generations", IMAGE | {"stream": True, "partial_images": 3}, True, id="image, mid-stream"),
        pytest.param("images/generations", IMAGE | {"n": 4}, False, id="images, before a whole answer"),
        pytest.param("embeddings", TEXTS, False, id="embeddings"),
        pytest.param("audio/transcriptions", RECORDING | {"stream": "true"}, True, id="transcription, mid-stream"),
        pytest.param("audio/transcriptions", RECORDING, False, id="transcription, before a whole answer"),
    ],
)
async def test_a_disconnect_frees_the_engine(
    service: Service, replicas: dict[str, Any], path: str, request_body: dict[str, Any], read_first: bool
) -> None:
    replica = replicas[request_body["model"]]
    await wait_for(replica, busy=False, seconds=10)
    request = prepared(path, request_body)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=2**24)
    writer.write(request)
    if read_first:
        await asyncio.wait_for(reader.readuntil(b"data: "), 20)
    await wait_for(replica, busy=True, seconds=10)
    writer.close()
    # Whisper's window under way cannot be stopped; all of them would take this model more than a minute.
    limit = 10.0 if "file" in request_body else 1.0
    assert await wait_for(replica, busy=False, seconds=limit) <= limit
