"""The bare echo: plain ASGI, for uvicorn. What is added to its times is a gateway's."""

from typing import Any

import orjson

from benchmarks.gateway.answers import COMPLETION, events

JSON_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(COMPLETION)).encode())]
STREAM_HEADERS = [(b"content-type", b"text/event-stream")]


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Any POST is a chat completion. Any GET is a probe, or a router that asks for the models."""
    if scope["method"] == "GET":
        body = orjson.dumps({"object": "list", "data": [{"id": "echo", "object": "model"}]})
        await send({"type": "http.response.start", "status": 200, "headers": JSON_HEADERS[:1]})
        await send({"type": "http.response.body", "body": body})
        return
    request = orjson.loads(await _body(receive))
    if not request.get("stream"):
        await send({"type": "http.response.start", "status": 200, "headers": JSON_HEADERS})
        await send({"type": "http.response.body", "body": COMPLETION})
        return
    await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
    async for event in events(request):
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _body(receive: Any) -> bytes:
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)
