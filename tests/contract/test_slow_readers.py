"""A client that stops to read: what waits for it is bounded, behind Serve's Python proxy and Ray's actors too."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from app.keys import LOCAL_KEY
from tests.conftest import CARRIER, STREAM_BUFFER_BYTES, Service
from tests.contract.conftest import SPEECH_MODEL

PAUSE_SECONDS = 5.0  # an engine that is not held back makes all of the answer meanwhile
TEXT = ("Hello there, how are you today? " * 200)[:4096]  # more than four minutes of audio, ten megabytes
SPEECH = {"model": SPEECH_MODEL, "input": TEXT, "response_format": "wav"}


@contextmanager
def unread(service: Service) -> Iterator[socket.socket]:
    """A connection with a request for a long answer, of which nothing is read."""
    body = json.dumps(SPEECH).encode()
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {LOCAL_KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.connect(("127.0.0.1", service.port))
        connection.sendall(head.encode() + body)
        yield connection


def gateway_and_proxy(service: Service) -> int:
    """Bytes of memory of the processes that an answer goes through."""
    names = ("ServeReplica:portico:gateway", "ProxyActor")
    found = [one for one in service.processes() if any(name in " ".join(one.cmdline()) for name in names)]
    assert len(found) == len(names)
    return sum(one.memory_info().rss for one in found)


@pytest.mark.skipif(CARRIER == "handle", reason="over Ray's actors nothing holds an engine back: the stream is cut")
def test_a_stream_that_is_not_read_for_a_while_waits_and_is_whole(service: Service, http: httpx.Client) -> None:
    whole = http.post("/v1/audio/speech", json=SPEECH)
    assert len(whole.content) > 8 * STREAM_BUFFER_BYTES
    before = gateway_and_proxy(service)
    with unread(service) as connection:
        time.sleep(PAUSE_SECONDS)
        assert gateway_and_proxy(service) - before < 4 * STREAM_BUFFER_BYTES, "the engine was not held back"
        read = 0
        while piece := connection.recv(1024 * 1024):
            read += len(piece)
            if piece.endswith(b"0\r\n\r\n"):
                break
    assert read > len(whole.content)  # and the head, and what frames the chunks
