"""Ray Serve as its documentation has it: a FastAPI ingress, a handle, a deployment behind it that echoes."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from benchmarks.gateway.answers import COMPLETION, events

AT_ONCE = 1000  # as many as this gateway takes; Serve's default is 5
web = FastAPI()


class Echo:
    """Gets the request, parsed, and gives the answer's bytes."""

    async def whole(self, request: dict[str, Any]) -> bytes:  # noqa: ARG002
        return COMPLETION

    async def stream(self, request: dict[str, Any]) -> AsyncIterator[bytes]:
        async for event in events(request):
            yield event


class Ingress:
    """Parses the request and relays the answer."""

    def __init__(self, echo: DeploymentHandle) -> None:
        self._echo = echo
        self._streams = echo.options(stream=True)

    @web.post("/v1/chat/completions")
    async def chat(self, request: Request) -> Response:
        asked = await request.json()
        if asked.get("stream"):
            return StreamingResponse(self._streams.stream.remote(asked), media_type="text/event-stream")
        return Response(await self._echo.whole.remote(asked), media_type="application/json")


def build(_: dict[str, Any]) -> Application:
    echo = serve.deployment(Echo, name="echo", max_ongoing_requests=AT_ONCE)
    ingress = serve.deployment(serve.ingress(web)(Ingress), name="gateway", max_ongoing_requests=AT_ONCE)
    return ingress.bind(echo.bind())
