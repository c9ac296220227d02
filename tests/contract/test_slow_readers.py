"""A client that stops to read: what waits for it is bounded, behind Serve's Python proxy and Ray's actors too."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from app.keys import LOCAL_KEY
from tests.conftest import STREAM_BUFFER_BYTES, Service
from tests.contract.conftest import SPEECH_MODEL

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


def outcomes(service: Service) -> list[str]:
    """How the requests for speech ended, from the access log."""
    lines = [line[line.index("{") :] for line in service.output.splitlines() if '"route":"/v1/audio/speech"' in line]
    return [json.loads(line)["reason"] for line in lines]


def test_a_stream_that_is_not_read_ends_before_it_has_filled_the_memory(service: Service, http: httpx.Client) -> None:
    whole = http.post("/v1/audio/speech", json=SPEECH)
    assert len(whole.content) > 8 * STREAM_BUFFER_BYTES  # and a client that reads gets all of it
    before = outcomes(service).count("reader_stalled")
    with unread(service):
        deadline = time.monotonic() + 60
        while outcomes(service).count("reader_stalled") == before:
            assert time.monotonic() < deadline, "the stream was not ended"
            time.sleep(0.2)
