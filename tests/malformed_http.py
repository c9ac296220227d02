"""Requests that are no valid HTTP, or hardly: what a client may send, and what it gets."""

import socket
from contextlib import suppress
from dataclasses import dataclass

import orjson

ANSWER_SECONDS = 30
GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

REQUESTS: dict[str, bytes] = {
    "a request line of 100 KB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "1,000 headers": GET + b"".join(b"X-%d: a\r\n" % number for number in range(1000)) + b"\r\n",
    "a header of 64 KB": GET + b"X-Long: " + b"a" * 65_536 + b"\r\n\r\n",
    "a header without a colon": GET + b"nothing\r\n\r\n",
    "bad chunks": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}a",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks under another name": POST + b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a NUL in the path": b"GET /v1/\x00models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an encoded NUL in the path": b"GET /v1/%00models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a bad percent encoding": b"GET /v1/%zzmodels HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an encoded path that is no UTF-8": b"GET /v1/%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a raw path that is no UTF-8": b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: elsewhere\r\n\r\n",
    "a websocket": GET
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "HTTP/2 after an upgrade": GET
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n",
    "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9,
    "TRACE": b"TRACE /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "CONNECT": b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\n\r\n",
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an unknown method": b"BREW /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an unknown version": b"GET /v1/models HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x01" * 512,
}
# Where the server's HTTP parser itself answers, with a text of its own that no setting changes.
PARSERS_OWN = {
    400: (b"<html><body><h1>400 Bad request</h1>\nYour browser sent an invalid request.\n</body></html>\n",
          b"Invalid HTTP request received.", b"Unsupported upgrade request."),
}  # fmt: skip


@dataclass
class Answer:
    """The first response to a request; `status` is 0 where the connection was closed without one."""

    status: int
    body: bytes

    def is_refusal(self) -> bool:
        """A client's error, in the envelope or in the parser's own words; or a closed connection."""
        if self.status == 0 or self.body in PARSERS_OWN.get(self.status, ()):
            return True
        return 400 <= self.status < 500 and set(orjson.loads(self.body)["error"]) == {
            "message",
            "type",
            "code",
            "param",
        }


def send(port: int, request: bytes) -> Answer:
    """Send the bytes as they are, and read until the server closes or the body is there. Raises TimeoutError."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as client:
        with suppress(ConnectionError):  # it may be refused before it is read whole
            client.sendall(request)
        received = b""
        with suppress(ConnectionError):
            while not _is_whole(received) and (piece := client.recv(65_536)):
                received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return Answer(int(head.split()[1]), body[: _length(head)]) if head else Answer(0, b"")


def _is_whole(received: bytes) -> bool:
    head, blank, body = received.partition(b"\r\n\r\n")
    length = _length(head)
    return bool(blank) and length is not None and len(body) >= length


def _length(head: bytes) -> int | None:
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    return int(fields[b"content-length"]) if b"content-length" in fields else None
