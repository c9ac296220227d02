"""vLLM's answers to /v1/responses, and what the contract makes of them."""

import json
from typing import Any

import pytest

from contract.protocol import RequestHead, ResponseTail
from deployments.vllm.responses import ResponsesDialect
from tests import openai_answers
from tests.openai_answers import check_shape
from tests.unit.test_vllm_answer import items_of, streaming

HEAD = RequestHead("/chat", "4f0c9e4c-0000-4000-8000-000000000000", include_usage=False, echo={"metadata": {"a": "b"}})
RESPONSE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "status": "in_progress", "output": [], "tools": [], "tool_choice": "none",
    "text": None, "usage": None, "reasoning": None, "user": None, "kv_transfer_params": None,
}  # fmt: skip


def event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: " + json.dumps({"type": kind, **fields}) + "\n\n"


OPENING = (event("response.created", response=RESPONSE), event("response.in_progress", response=RESPONSE))
DELTA = event("response.output_text.delta", delta="x")


class Refusal(Exception):
    """What an engine raises when it looks at a request too late."""


def broken_off() -> RuntimeError:
    error = RuntimeError("Caught handled exception, but response already started.")
    error.__cause__ = Refusal()
    return error


def reported(error: Exception) -> tuple[int, bytes]:
    """As vLLM would have answered."""
    body = {"error": {"message": "Grammar error: no", "param": None, "code": 400}}
    return (400, json.dumps(body).encode()) if isinstance(error, Refusal) else (500, b"")


async def answered(*events: str | Exception) -> list[Any]:
    return await items_of(streaming(*events, pause=0.01), ResponsesDialect(reported), HEAD)


async def test_an_engine_that_breaks_off_after_its_opening_gives_a_status() -> None:
    (head,) = await answered(*OPENING, broken_off())
    assert (head.status, head.error["code"], head.error["param"]) == (422, "invalid_json_schema", "text.format")


async def test_an_engine_that_breaks_off_later_ends_the_stream_with_its_error() -> None:
    head, first, tail = await answered(*OPENING, DELTA, broken_off())
    assert head.error is None
    assert first.count(b"\n\n") == 3
    assert tail.error["code"] == "invalid_json_schema"


@pytest.mark.parametrize("status", ["completed", "incomplete"])
async def test_a_stream_ends_in_the_event_of_its_status_and_done(status: str) -> None:
    usage = {
        "input_tokens": 1, "output_tokens": 2, "total_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "input_tokens_per_turn": []},
        "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    last = event("response.completed", response=RESPONSE | {"status": status, "usage": usage})
    *_, final, tail = await answered(*OPENING, DELTA, last)
    assert final.startswith(f"event: response.{status}\n".encode())
    assert final.endswith(b"\n\ndata: [DONE]\n\n")
    response = json.loads(final.partition(b"data: ")[2].partition(b"\n\n")[0])["response"]
    assert response["metadata"] == {"a": "b"}
    assert (response["completed_at"] is None) == (status == "incomplete")
    assert "input_tokens_per_turn" not in response["usage"]["input_tokens_details"]
    assert not {"user", "kv_transfer_params"} & set(response)
    assert isinstance(tail, ResponseTail)
    assert tail.usage
    assert tail.usage["total_tokens"] == 3


USAGE = {
    "input_tokens": 1, "output_tokens": 2, "total_tokens": 3,
    "input_tokens_details": {"cached_tokens": 0, "cached_tokens_per_turn": []},
    "output_tokens_details": {"reasoning_tokens": 0, "tool_output_tokens": 0},
}  # fmt: skip
# As vLLM writes them, with every null that it has.
TOOL = {
    "type": "function", "name": "ring", "description": None, "parameters": None, "strict": None,
    "allowed_callers": None, "defer_loading": None, "output_schema": None, "surprise": None,
}  # fmt: skip
MESSAGE: dict[str, Any] = {
    "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": None,
    "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": None, "parsed": None}],
}  # fmt: skip
CALL = {
    "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "ring", "status": "completed",
    "namespace": None, "caller": None, "arguments": "{}", "parsed_arguments": None,
}  # fmt: skip
REASONING = {
    "type": "reasoning", "id": "rs_1", "summary": [], "status": None, "encrypted_content": None,
    "content": [{"type": "reasoning_text", "text": "a"}],
}  # fmt: skip
FORMAT: dict[str, Any] = {"type": "json_schema", "name": "a", "schema": {}, "description": None, "strict": True}
COMPLETED = RESPONSE | {
    "status": "completed", "created_at": 1, "model": "m", "instructions": None, "incomplete_details": None,
    "parallel_tool_calls": True, "temperature": 1.0, "top_p": 1.0, "usage": USAGE, "tools": [TOOL],
    "text": {"format": FORMAT, "verbosity": None}, "reasoning": {"effort": None, "summary": None, "context": None},
    "max_tool_calls": None, "max_output_tokens": None, "truncation": "disabled",
    "output": [REASONING, MESSAGE, CALL],
}  # fmt: skip
INCOMPLETE = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}


def whole(**changes: Any) -> dict[str, Any]:
    """What the client gets of a complete answer, with `changes`."""
    response = json.loads(ResponsesDialect(reported).body(json.dumps(COMPLETED | changes).encode(), HEAD)[0])
    check_shape(openai_answers.RESPONSE, response)
    return response


def test_null_fields_that_openai_lacks_go() -> None:
    response = whole()
    reasoning, message, call = response["output"]
    assert set(reasoning) == {"type", "id", "summary", "content"}
    assert set(message) == {"type", "id", "role", "status", "content"}
    assert message["content"] == [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}]
    assert set(call) == {"type", "id", "call_id", "name", "status", "arguments"}
    assert response["tools"] == [
        {"type": "function", "name": "ring", "description": None, "parameters": None, "strict": None}
    ]
    assert response["text"] == {"format": {"type": "json_schema", "name": "a", "schema": {}, "strict": True}}
    assert response["reasoning"] == {"effort": None, "summary": None}


@pytest.mark.parametrize("text", [None, {"format": None, "verbosity": "low"}])
def test_a_text_without_a_format_is_plain(text: Any) -> None:
    assert whole(text=text)["text"] == {"format": {"type": "text"}}


@pytest.mark.parametrize(("arguments", "status"), [('{"a": [', "incomplete"), ("", "incomplete"), ("{}", "completed")])
async def test_a_call_that_was_cut_says_so(arguments: str, status: str) -> None:
    """A whole one does not: then what was cut is the beginning of another, of which there is nothing to show."""
    output = [CALL, CALL | {"arguments": arguments}]
    assert [item["status"] for item in whole(output=output, **INCOMPLETE)["output"]] == ["completed", status]
    done = event("response.output_item.done", item=output[1], output_index=1)
    last = event("response.completed", response=COMPLETED | INCOMPLETE | {"output": output})
    _, *pieces, _ = await answered(*OPENING, done, last)
    item, response = [json.loads(one.partition(b"data: ")[2]) for one in b"".join(pieces).split(b"\n\n")[2:4]]
    assert item["item"]["status"] == response["response"]["output"][1]["status"] == status


async def test_a_stream_without_an_end_failed() -> None:
    assert (await answered(*OPENING, DELTA))[-1].error["code"] == "upstream_error"
