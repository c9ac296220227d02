"""Answers the gateway's requests with an ASGI application: the replica's half of the protocol."""

import logging
from collections.abc import AsyncGenerator
from typing import Any

from contract.errors import ApiError, upstream_error
from contract.protocol import EVENT_STREAM, RequestHead, ResponseHead, ResponseItem, ResponseTail
from deployments.vllm.asgi import AsgiCall
from deployments.vllm.dialect import Dialect

logger = logging.getLogger("portico.replica")


async def answer(app: Any, dialect: Dialect, request: RequestHead, body: bytes) -> AsyncGenerator[ResponseItem]:
    """Call `app` and yield its answer in the contract's form.

    The head leaves only with the first event, so what an engine reports after its own 200 and before its first token
    still gets a proper status. Closing this generator aborts the request in the engine.
    """
    headers = [(b"content-type", b"application/json"), (b"x-request-id", request.request_id.encode())]
    started = False
    try:
        async with AsgiCall(app, request.route, headers, body) as call:
            status, response_headers = await call.start()
            if status >= 400:
                yield _failed(dialect.errors.of_answer(status, await call.read()))
                return
            content_type = response_headers.get("content-type", "application/json")
            if not content_type.startswith(EVENT_STREAM):
                complete, usage = dialect.body(await call.read(), request)
                yield ResponseHead(status, content_type, complete, usage)
                return
            stream = dialect.stream(request)
            async for piece in call.pieces():
                if events := stream.feed(piece):
                    if not started:
                        started = True
                        yield ResponseHead(status, content_type)
                    yield events
                if stream.error:
                    break
            error = stream.error or (None if stream.done else upstream_error())
            if error and not started:
                yield _failed(error)
            else:
                yield ResponseTail(stream.usage, error.to_wire() if error else None)
    except Exception as raised:
        error = dialect.errors.of_exception(raised)
        if error.status >= 500:
            logger.exception("the engine failed request %s", request.request_id)
        yield ResponseTail(error=error.to_wire()) if started else _failed(error)


def _failed(error: ApiError) -> ResponseHead:
    return ResponseHead(error.status, error=error.to_wire())
