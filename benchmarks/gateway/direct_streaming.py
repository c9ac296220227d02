"""ray.serve.llm with direct streaming, its server without an engine: what is measured is the way to it."""

from typing import Any

from ray.serve import Application
from ray.serve.llm import LLMConfig, LLMServer, build_openai_app

from benchmarks.gateway import echo
from benchmarks.gateway.stock import AT_ONCE


class EchoServer(LLMServer):
    """Where vLLM's own application would be, that of the bare echo."""

    @classmethod
    def get_deployment_options(cls, llm_config: LLMConfig) -> dict[str, Any]:  # noqa: ARG003
        return {"name": "echo", "max_ongoing_requests": AT_ONCE}

    async def start(self) -> None:
        """There is no engine."""

    async def check_health(self) -> None:
        """There is nothing that could fail."""

    async def __serve_build_asgi_app__(self) -> Any:
        return application


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The bare echo, which Serve also tells when it starts and ends."""
    if scope["type"] == "http":
        await echo.application(scope, receive, send)
        return
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def build(_: dict[str, Any]) -> Application:
    config = LLMConfig(model_loading_config={"model_id": "echo"}, server_cls=EchoServer)
    return build_openai_app({"llm_configs": [config]})
