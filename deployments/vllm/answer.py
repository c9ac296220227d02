"""Answers a request of the gateway with vLLM's ASGI application: what it says, in the items of the protocol."""

from collections.abc import AsyncGenerator
from typing import Any

from contract.errors import ApiError, upstream_error
from contract.protocol import (
    DETOKENIZE_ROUTE,
    EVENT_STREAM,
    TOKENIZE_ROUTE,
    RequestHead,
    ResponseHead,
    ResponseItem,
    ResponseTail,
)
from deployments.vllm.asgi import AsgiCall
from deployments.vllm.dialect import Dialect

# What vLLM calls them, where that is not their name in the contract.
PATHS = {TOKENIZE_ROUTE: "/tokenize", DETOKENIZE_ROUTE: "/detokenize"}


async def answer(app: Any, dialect: Dialect, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
    """Call `app` and yield its answer. Closing this generator aborts the request in the engine.

    Raises ApiError for what the engine reports, and what the application raised where the engine itself failed.
    """
    headers = [(b"content-type", b"application/json"), (b"x-request-id", request.request_id.encode())]
    trace = {"traceparent": request.traceparent, "tracestate": request.tracestate}
    headers += [(name.encode(), value.encode()) for name, value in trace.items() if value]
    path = PATHS.get(request.route, request.route)
    try:
        async with AsgiCall(app, path, headers, dialect.question(body, request)) as call:
            status, response_headers = await call.start()
            if status >= 400:
                raise dialect.errors.of_answer(status, await call.read())  # noqa: TRY301
            content_type = response_headers.get("content-type", "application/json")
            if not content_type.startswith(EVENT_STREAM):
                complete, usage = dialect.body(await call.read(), request)
                yield ResponseHead(status, content_type, complete, usage)
                return
            yield ResponseHead(status, content_type)
            stream = dialect.stream(request)
            async for piece in call.pieces():
                if events := stream.feed(piece):
                    yield events
                if stream.error:
                    break
            error = stream.error or (None if stream.done else upstream_error())
            yield ResponseTail(stream.usage, error.to_wire() if error else None)
    except ApiError:
        raise
    except Exception as raised:
        error = dialect.errors.of_exception(raised)
        if error.code == "upstream_error":
            raise
        raise error from raised
