"""Clients that do not do as they should, each with a connection of its own."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import closing, suppress
from typing import Any

from app.keys import LOCAL_KEY
from contract.protocol import CHAT_ROUTE, SPEECH_ROUTE
from tests.reliability.kinds import CHAT, GOES_ON, MESSAGES, RECORDING, SPEECH, WHISPER

STREAM = {"model": CHAT, "messages": MESSAGES, "max_tokens": 1000, "stream": True, **GOES_ON}
WHOLE = STREAM | {"stream": False}
# More audio than fits into the buffers between an engine and a reader that reads nothing.
LONG_SPEECH = {"model": SPEECH, "input": "Hello there, this is a sentence. " * 100, "response_format": "pcm"}
SMALL_BUFFER = 16 * 1024
GIVE_UP_SECONDS = 40.0

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def request(path: str, body: bytes, content_type: str = "application/json", length: int | None = None) -> bytes:
    """Its bytes; `length` is what they say of a body that is not all there."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {LOCAL_KEY}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    ).encode() + body


def of_json(path: str, content: dict[str, Any]) -> bytes:
    return request(path, json.dumps(content).encode())


def half_an_upload() -> bytes:
    """The first half of a recording to transcribe."""
    head = f'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{WHISPER}\r\n--b\r\n'
    head += 'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    form = head.encode() + RECORDING + b"\r\n--b--\r\n"
    return request("/v1/audio/transcriptions", form[: len(form) // 2], "multipart/form-data; boundary=b", len(form))


async def connect(port: int, then: Connected) -> None:
    """Open a connection, do `then`, and close it at once, whatever is still to come."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(GIVE_UP_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await then(reader, writer)
            finally:
                writer.transport.abort()


async def send_a_byte_a_second(port: int, content: bytes) -> None:
    """As long as it is let, until it gives up."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered = asyncio.create_task(reader.read(1))
        for byte in content:
            writer.write(bytes([byte]))
            await asyncio.wait([answered], timeout=1)
            if answered.done():
                return

    await connect(port, send)


async def vanish(port: int, content: bytes, after_bytes: int, seconds: float) -> None:
    """Send `content`, wait for some bytes of the answer if any are wanted, and `seconds` more."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        if after_bytes:
            with suppress(asyncio.IncompleteReadError):
                await reader.readexactly(after_bytes)
        await asyncio.sleep(seconds)

    await connect(port, send)


def vanishing(port: int) -> Iterator[Coroutine[Any, Any, None]]:
    """One of each: before the first byte, in the midst of a stream, during an upload."""
    yield vanish(port, of_json(CHAT_ROUTE, WHOLE), 0, 0.3)
    yield vanish(port, of_json(CHAT_ROUTE, STREAM), 2000, 0)
    yield vanish(port, half_an_upload(), 0, 0.3)


async def read_nothing(port: int, seconds: float) -> None:
    """Ask for a stream, read nothing of it, and keep the connection open."""
    loop = asyncio.get_running_loop()
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        await loop.sock_sendall(connection, of_json(SPEECH_ROUTE, LONG_SPEECH))
        await asyncio.sleep(seconds)
