"""vLLM's answers to Anthropic's /v1/messages, and what the contract makes of them."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from contract.protocol import RequestHead, ResponseHead, ResponseTail
from deployments.vllm.messages import CountTokensDialect, MessagesDialect
from tests.unit.test_vllm_answer import app_of, items_of, streaming

ID = "4f0c9e4c-0000-4000-8000-000000000000"
HEAD = RequestHead("/chat", ID, include_usage=False, echo={"metadata": {"user_id": "u"}})
USAGE = {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 16}
MESSAGE: dict[str, Any] = {
    "id": f"chatcmpl-{ID}", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "a"}], "usage": USAGE,
}  # fmt: skip
WHOLE_USAGE = USAGE | {"cache_creation_input_tokens": 0}
CHARGED = {
    "prompt_tokens": 19, "completion_tokens": 2, "total_tokens": 21, "prompt_tokens_details": {"cached_tokens": 16},
}  # fmt: skip


def event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: " + json.dumps({"type": kind, **fields}) + "\n\n"


START = event("message_start", message=MESSAGE | {"content": [], "stop_reason": None, "stop_sequence": None})
BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
DELTA = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})
BLOCK_STOP = event("content_block_stop", index=0)
END = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=USAGE)
STOP = event("message_stop")
ERROR = 'data: {"error": {"message": "Grammar error: no", "type": "BadRequestError", "param": null, "code": 400}}\n\n'


async def answered(*events: str, pause: float = 0) -> list[Any]:
    return await items_of(streaming(*events, pause=pause), MessagesDialect(), HEAD)


def events_of(items: list[Any]) -> list[dict[str, Any]]:
    blocks = b"".join(item for item in items if isinstance(item, bytes)).decode().split("\n\n")[:-1]
    events = [json.loads(block.partition("\ndata: ")[2]) for block in blocks]
    assert [block.partition("\n")[0] for block in blocks] == [f"event: {one['type']}" for one in events]
    return events


def answering(status: int, content: Any) -> Any:
    async def handler(_: Request) -> Response:
        return JSONResponse(content, status)

    return app_of(handler)


async def test_a_message_has_what_anthropic_s_has_and_no_more() -> None:
    (head,) = await items_of(answering(200, MESSAGE | {"kv_transfer_params": None}), MessagesDialect(), HEAD)
    assert json.loads(head.body) == MESSAGE | {
        "id": f"msg_{ID}", "stop_sequence": None, "usage": WHOLE_USAGE, "metadata": {"user_id": "u"},
    }  # fmt: skip
    assert head.usage == CHARGED, "tokens from the cache are of the prompt"


async def test_a_stream_has_every_event_under_its_name_and_ends_with_its_usage() -> None:
    head, *pieces, tail = await answered(START, BLOCK, DELTA, BLOCK_STOP, END, STOP)
    start, block, delta, _, end, stop = events_of(pieces)
    assert head.status == 200
    assert start["message"]["id"] == f"msg_{ID}"
    assert (start["message"]["usage"], start["message"]["metadata"]) == (WHOLE_USAGE, {"user_id": "u"})
    assert block["content_block"] == {"type": "text", "text": ""}
    assert delta["delta"]["text"] == "a"
    assert end["usage"] == WHOLE_USAGE
    assert stop == {"type": "message_stop"}
    assert tail == ResponseTail(CHARGED)


async def test_a_block_of_thinking_begins_with_a_signature() -> None:
    block = event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
    _, *pieces, _ = await answered(START, block, END, STOP)
    assert events_of(pieces)[1]["content_block"] == {"type": "thinking", "thinking": "", "signature": ""}


async def test_a_stream_of_no_text_has_an_empty_block_as_a_whole_message_has() -> None:
    _, *pieces, _ = await answered(START, END, STOP)
    kinds = [one["type"] for one in events_of(pieces)]
    assert kinds == ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]


async def test_an_error_before_the_first_event_is_a_status_and_later_the_stream_s_end() -> None:
    (head,) = await answered(ERROR)
    assert (head.status, head.error["code"], head.error["param"]) == (
        422,
        "invalid_json_schema",
        "output_config.format",
    )
    for pause in (0, 0.01):
        _, *pieces, tail = await answered(START, ERROR, STOP, pause=pause)
        assert [one["type"] for one in events_of(pieces)] == ["message_start"]
        assert tail.error["code"] == "invalid_json_schema"


async def test_a_fault_of_vllm_s_own_and_a_stream_that_breaks_off_are_the_engine_s() -> None:
    fault = event("error", error={"type": "internal_error", "message": "boom"})
    for events in ((START, fault), (START, BLOCK)):
        tail = (await answered(*events))[-1]
        assert tail.error["code"] == "upstream_error"


async def test_a_prompt_that_is_too_long_names_the_messages() -> None:
    error = {"error": {"message": "too long (parameter=input_tokens, value=9)", "param": "input_tokens", "code": 400}}
    for dialect in (MessagesDialect(), CountTokensDialect()):
        (head,) = await items_of(answering(400, error), dialect, HEAD)
        assert (head.status, head.error["code"], head.error["param"]) == (422, "context_length_exceeded", "messages")


async def test_counted_tokens_are_alone_and_charge_nothing() -> None:
    answer = {"input_tokens": 7, "context_management": {"original_input_tokens": 7}}
    items = await items_of(answering(200, answer), CountTokensDialect(), HEAD)
    assert items == [ResponseHead(200, "application/json", b'{"input_tokens":7}', {})]
