"""Bytes that are no valid HTTP request, sent to Serve's HTTP server as it runs before a gateway."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast

import pytest
from ray.serve._private.http_util import RequestIdMiddleware, start_asgi_http_server
from ray.serve.config import HTTPOptions

from app.edge import Edge
from app.gateway.application import Gateway
from tests.malformed_http import GET, REQUESTS, send
from tests.own_ports import free_port


@pytest.fixture
async def port(make_gateway: Callable[..., Gateway]) -> AsyncGenerator[int]:
    """Of Serve's own HTTP server."""
    options = HTTPOptions(host="127.0.0.1", port=free_port())
    application = cast(Any, Edge(RequestIdMiddleware(make_gateway()), reports_taken=True))
    serving, server = await start_asgi_http_server(application, options, event_loop=asyncio.get_running_loop())
    yield options.port
    server.should_exit = True
    await serving


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_malformed_request_is_refused_and_the_next_one_served(port: int, name: str) -> None:
    answer = await asyncio.to_thread(send, port, REQUESTS[name])
    assert answer.is_refusal(), answer
    assert (await asyncio.to_thread(send, port, GET.replace(b"/v1/models", b"/health") + b"\r\n")).status == 200
