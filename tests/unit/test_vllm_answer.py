"""vLLM's answers through a replica, over small ASGI applications that stand in for vLLM's own."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from contract.protocol import RequestHead, ResponseHead, ResponseTail
from deployments.vllm.answer import answer
from deployments.vllm.asgi import AsgiCall
from deployments.vllm.chat import ChatDialect
from deployments.vllm.dialect import Dialect
from deployments.vllm.responses import ResponsesDialect
from tests.unit.test_replica import replica_of

HEAD = RequestHead("/chat", "4f0c9e4c-0000-4000-8000-000000000000", include_usage=False, echo={})


def event(**fields: Any) -> str:
    return "data: " + json.dumps({"choices": [], **fields}) + "\n\n"


FIRST = event(choices=[{"index": 0, "delta": {"role": "assistant"}, "token_ids": None}])
USAGE = event(usage={"prompt_tokens": 1, "completion_tokens": 2})
ERROR = 'data: {"error": {"message": "bad (parameter=logprobs, value=50)", "param": "logprobs", "code": 400}}\n\n'
DONE = "data: [DONE]\n\n"


def app_of(handler: Any) -> Starlette:
    return Starlette(routes=[Route("/chat", handler, methods=["POST"])])


def streaming(*events: str | Exception, pause: float = 0) -> Starlette:
    async def handler(_: Request) -> Response:
        async def generate() -> Any:
            for one in events:
                await asyncio.sleep(pause)
                if isinstance(one, Exception):
                    raise one
                yield one

        return StreamingResponse(generate(), media_type="text/event-stream")

    return app_of(handler)


async def items_of(
    app: Any, dialect: Dialect | None = None, head: RequestHead = HEAD, body: bytes = b"{}"
) -> list[Any]:
    """What a replica makes of the application's answer."""
    replica = await replica_of(lambda request, body: answer(app, dialect or ChatDialect(), request, body))
    async with aclosing(replica.handle(head, body)) as items:
        return [item async for item in items]


async def test_a_complete_answer_is_one_item() -> None:
    async def handler(request: Request) -> Response:
        assert request.headers["x-request-id"] == HEAD.request_id
        return JSONResponse({"choices": [], "usage": {"prompt_tokens": 3}, "metrics": None})

    assert await items_of(app_of(handler)) == [
        ResponseHead(200, "application/json", b'{"choices":[],"usage":{"prompt_tokens":3}}', {"prompt_tokens": 3})
    ]


@pytest.mark.parametrize("dialect", [ChatDialect(), ResponsesDialect()], ids=["chat", "responses"])
async def test_the_application_gets_the_request_s_id_where_vllm_reads_it(dialect: Dialect) -> None:
    """In the header; for responses in the body, which is otherwise as it was."""
    got: list[Any] = []

    async def handler(request: Request) -> Response:
        got.append((request.headers["x-request-id"], await request.json()))
        return JSONResponse({"error": {"message": "no", "code": 400}}, 400)

    await items_of(app_of(handler), dialect, body=b'{"model":"m","input":"hi"}')
    await items_of(app_of(handler), dialect, body=b"{}")
    own = {"request_id": f"resp_{HEAD.request_id}"} if isinstance(dialect, ResponsesDialect) else {}
    assert got == [(HEAD.request_id, own | {"model": "m", "input": "hi"}), (HEAD.request_id, own)]


async def test_a_stream_is_head_events_and_tail_and_hides_the_usage_nobody_asked_for() -> None:
    head, *events, tail = await items_of(streaming(FIRST, USAGE, DONE))
    assert head.status == 200
    assert head.content_type.startswith("text/event-stream")
    assert b"".join(events) == b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\ndata: [DONE]\n\n'
    assert tail == ResponseTail({"prompt_tokens": 1, "completion_tokens": 2})


async def test_an_error_before_the_first_event_becomes_a_status() -> None:
    (head,) = await items_of(streaming(ERROR, DONE))
    assert (head.status, head.error["code"], head.error["param"]) == (400, "invalid_value", "logprobs")
    assert head.error["message"] == "bad"


@pytest.mark.parametrize("pause", [0, 0.01], ids=["joined with the event before it", "alone"])
async def test_an_error_after_the_first_event_ends_the_stream(pause: float) -> None:
    head, events, tail = await items_of(streaming(FIRST, ERROR, DONE, pause=pause))
    assert head.error is None
    assert b"assistant" in events
    assert b"DONE" not in events
    assert tail.error["code"] == "invalid_value"


@pytest.mark.parametrize("events", [(), (FIRST,)], ids=["empty", "one event"])
async def test_a_stream_that_ends_without_done_failed(events: tuple[str, ...]) -> None:
    last = (await items_of(streaming(*events)))[-1]
    assert last.error["code"] == "upstream_error"


@pytest.mark.parametrize("events", [(RuntimeError(),), (FIRST, RuntimeError())], ids=["at once", "after one event"])
async def test_an_exception_in_the_engine_is_an_upstream_error(events: Any) -> None:
    last = (await items_of(streaming(*events, pause=0.01)))[-1]
    assert last.error["code"] == "upstream_error"


async def test_closing_the_answer_tells_the_engine_that_the_client_left() -> None:
    ended = asyncio.Event()

    async def handler(_: Request) -> Response:
        async def generate() -> Any:
            try:
                while True:
                    yield FIRST
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        return StreamingResponse(generate(), media_type="text/event-stream")

    async with aclosing(answer(app_of(handler), ChatDialect(), HEAD, b"{}")) as items:
        async for _ in items:
            break
    await asyncio.wait_for(ended.wait(), 1)


async def test_work_in_a_task_of_its_own_is_stopped_too() -> None:
    """vLLM answers a whole request so: in a second task, cancelled when the client's disconnect is heard."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def handler(request: Request) -> Response:
        await request.body()
        working = asyncio.create_task(work())
        message = await request.receive()
        assert message["type"] == "http.disconnect"
        working.cancel()
        return Response()

    async with AsgiCall(app_of(handler), "/chat", [], b"") as call:
        waiting = asyncio.create_task(call.start())
        await asyncio.sleep(0.05)
        waiting.cancel()
    await asyncio.wait_for(ended.wait(), 1)


async def test_an_application_that_ignores_the_disconnect_is_cancelled() -> None:
    ended = asyncio.Event()

    async def handler(_: Request) -> Response:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return Response()

    async with AsgiCall(app_of(handler), "/chat", [], b""):
        await asyncio.sleep(0.05)
    assert ended.is_set()


async def test_a_slow_reader_gets_waiting_pieces_joined_and_holds_the_engine_back() -> None:
    made = 0

    async def handler(_: Request) -> Response:
        async def generate() -> Any:
            nonlocal made
            for _ in range(2000):
                made += 1
                yield "x"

        return StreamingResponse(generate())

    async with AsgiCall(app_of(handler), "/chat", [], b"") as call:
        await call.start()
        await asyncio.sleep(0.1)
        assert made < 300
        pieces = [piece async for piece in call.pieces()]
    assert len(b"".join(pieces)) == 2000
    assert len(pieces) < 100
