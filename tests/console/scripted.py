"""A gateway whose answers a test writes: what random weights do not do when they are asked to."""

from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from app.http.body import Receive
from app.http.response import Send
from contract import sse
from tests.sample_images import PNG, data_url

DONE = b"data: [DONE]\n\n"
B64 = data_url(PNG).partition(",")[2]
USAGE = {"total_tokens": 8}
HANGS = b": waits until the client leaves\n\n"


def delta(finish_reason: str | None = None, **content: Any) -> bytes:
    """An event of a chat stream."""
    return sse.event({"choices": [{"index": 0, "delta": content, "finish_reason": finish_reason}]})


def text(choice: str, finish_reason: str | None = None) -> bytes:
    """An event of a stream of completions."""
    return sse.event({"choices": [{"index": 0, "text": choice, "finish_reason": finish_reason}]})


def image_stream(kind: str) -> list[bytes]:
    """The events of an image with one partial image."""
    partial = {"type": f"{kind}.partial_image", "b64_json": B64, "partial_image_index": 0}
    return [sse.event(partial), sse.event({"type": f"{kind}.completed", "b64_json": B64, "usage": USAGE})]


async def read(request: Request) -> dict[str, Any]:
    """The body of a request, of JSON or of a form."""
    if request.headers["content-type"] == "application/json":
        return dict(await request.json())
    form = await request.form()
    return {name: await value.read() if isinstance(value, UploadFile) else value for name, value in form.items()}


class ScriptedGateway:
    """Answers each POST with the next of `answers`, and remembers what it was sent."""

    def __init__(self, *answers: list[bytes]) -> None:
        self.answers = list(answers)
        self.sent: list[dict[str, Any]] = []  # of a form its fields, those of files as their bytes
        self.paths: list[str] = []
        self.was_left = False  # by who asked

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        self.sent.append(await read(Request(scope, receive)))
        answer = self.answers.pop(0)
        is_json = answer[0].startswith(b"{")
        headers = [
            (b"content-type", b"application/json" if is_json else b"text/event-stream; charset=utf-8"),
            (b"x-request-id", b"6f1d5f0e-7a9b-4f2c-9d55-0123456789ab"),
            (b"x-param-adjustments", b'logit_bias;action=drop;reason="no, \\"never\\"", and-more;count=2'),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in answer:
            if piece is HANGS:
                message = await receive()
                self.was_left = message["type"] == "http.disconnect"
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
