"""vLLM's errors as it words them, and what the contract makes of each."""

import json
from typing import Any

import pytest

from contract import sse
from contract.protocol import RequestHead
from deployments.vllm.chat import ChatDialect
from deployments.vllm.errors import validation_error
from tests.openai_answers import CHAT, CHAT_CHUNK, check_shape


def vllm_error(message: str, param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "BadRequestError", "param": param, "code": 400}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, vllm_error("too long (parameter=input_tokens, value=9)", "input_tokens"),
         (422, "context_length_exceeded", "messages")),
        (400, vllm_error("max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)", "max_tokens"),
         (422, "context_length_exceeded", "messages")),
        (400, vllm_error("The decoder prompt (length 9) is longer than the maximum model length of 9."),
         (422, "context_length_exceeded", "messages")),
        (400, vllm_error("Grammar error: Invalid type: nonsense"), (422, "invalid_json_schema", "response_format")),
        (400, vllm_error("Failed to transform regex into a grammar: no"), (400, "invalid_value", "tools")),
        (400, vllm_error("top_p must be in (0, 1], got 3.0. (parameter=top_p, value=3.0)", "top_p"),
         (400, "invalid_value", "top_p")),
        (400, vllm_error('"auto" tool choice requires --enable-auto-tool-choice'),
         (400, "unsupported_capability", None)),
        (400, vllm_error("tiny is not a multimodal model"), (400, "unsupported_capability", None)),
        (404, vllm_error("The model `x` does not exist."), (404, "model_not_found", None)),
        (422, vllm_error("cannot load image"), (422, "invalid_image", "messages")),
        (500, vllm_error("EngineCore encountered an issue"), (502, "upstream_error", None)),
        (503, vllm_error("The engine is currently busy"), (503, "overloaded", None)),
        (500, b"Internal Server Error", (502, "upstream_error", None)),
        (404, b'{"detail":"Not Found"}', (502, "upstream_error", None)),
    ],
)  # fmt: skip
def test_an_error_of_vllm_is_the_contract_s(status: int, body: bytes, expected: tuple[int, str, str | None]) -> None:
    error = ChatDialect().errors.of_answer(status, body)
    assert (error.status, error.code, error.param) == expected
    assert "value=" not in error.message


@pytest.mark.parametrize(
    "message",
    [
        'Traceback (most recent call last): File "/srv/x.py", line 1',
        "[18:56:56] /project/cpp/json_schema_converter.cc:4944: Unsupported type",
        "invalid literal in SamplingParams",
        "<vllm.foo object at 0x7f00aa00>",
        "cannot reach 10.0.0.7:5557",
    ],
)
def test_a_message_that_tells_of_the_inside_is_replaced(message: str) -> None:
    reported = ChatDialect().errors.of_answer(400, vllm_error(message)).message
    assert "simplify it" in reported
    assert not any(word in reported for word in ("/srv", "/project", "SamplingParams", "0x7f", "10.0.0.7", "Traceback"))


def test_a_message_for_a_person_is_kept() -> None:
    reported = "This model's maximum context length is 2048 tokens. However, you asked for 3.5 times that."
    assert ChatDialect().errors.of_answer(400, vllm_error(reported, "n")).message == reported


@pytest.mark.parametrize(
    ("kind", "message", "place", "expected"),
    [
        ("missing", "Field required", "body.tools.0.function", ("missing_required_parameter", "tools.0.function")),
        ("int_parsing", "Input should be a valid integer", "body.max_tokens", ("invalid_type", "max_tokens")),
        ("literal_error", "Input should be 'text'", "body.messages.0.CustomParam.type",
         ("invalid_value", "messages.0.type")),
        ("value_error", "Value error, n must be 1", "body", ("invalid_value", None)),
    ],
)  # fmt: skip
def test_a_validation_error_names_the_place_and_no_class(kind: str, message: str, place: str, expected: Any) -> None:
    body = json.dumps(validation_error(kind, message, place)).encode()
    error = ChatDialect().errors.of_answer(400, body)
    assert (error.code, error.param) == expected
    assert error.status == 400


HEAD = RequestHead("/", "id", include_usage=True, echo={})
# A choice as vLLM writes it, with every null that it has.
LOGPROBS = {"content": [{"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGE = {
    "role": "assistant", "content": "a", "refusal": None, "annotations": None, "audio": None, "function_call": None,
    "reasoning": None,
}  # fmt: skip
CHOICE = {
    "index": 0, "message": MESSAGE, "logprobs": None, "finish_reason": "stop", "stop_reason": None, "token_ids": None,
    "routed_experts": None,
}  # fmt: skip
USAGE = {
    "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "completion_tokens_details": None,
    "prompt_tokens_details": {"cached_tokens": 0, "created_cache_tokens": 4, "multimodal_tokens": None},
}  # fmt: skip
COMPLETION = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [CHOICE], "usage": USAGE,
    "service_tier": None, "system_fingerprint": None, "prompt_logprobs": None, "kv_transfer_params": None,
}  # fmt: skip
CHUNK = COMPLETION | {"object": "chat.completion.chunk", "usage": None}


def whole(**changes: Any) -> dict[str, Any]:
    """What the client gets of a completion with one choice, with `changes`."""
    body = COMPLETION | {"choices": [CHOICE | changes]}
    answer = json.loads(ChatDialect().body(json.dumps(body).encode(), HEAD)[0])
    check_shape(CHAT, answer)
    return answer


def streamed(**changes: Any) -> dict[str, Any]:
    """What the client gets of a chunk with one choice, with `changes`."""
    (chunk,) = parts(**changes)
    return chunk


def parts(**changes: Any) -> list[dict[str, Any]]:
    """The chunks that the client gets of one chunk with one choice, with `changes`."""
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": None, "stop_reason": None} | changes
    events = ChatDialect().stream(HEAD).feed(sse.event(CHUNK | {"choices": [choice]}))
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in sse.Splitter().feed(events)]
    for chunk in chunks:
        check_shape(CHAT_CHUNK, chunk)
    return chunks


def test_null_fields_that_openai_lacks_go() -> None:
    assert whole() == {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [
            {"index": 0, "logprobs": None, "finish_reason": "stop",
             "message": {"role": "assistant", "content": "a", "refusal": None}}
        ],
        "usage": {
            "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 4},
        },
    }  # fmt: skip


def test_what_the_engine_adds_stays_where_it_holds_something() -> None:
    (choice,) = whole(message=MESSAGE | {"reasoning": "because"}, stop_reason=7)["choices"]
    assert (choice["message"]["reasoning"], choice["stop_reason"]) == ("because", 7)


def test_logprobs_have_a_refusal_as_at_openai() -> None:
    assert whole(logprobs=LOGPROBS)["choices"][0]["logprobs"] == LOGPROBS | {"refusal": None}
    assert streamed(logprobs=LOGPROBS)["choices"][0]["logprobs"] == LOGPROBS | {"refusal": None}


def test_a_chunk_has_the_nulls_of_openai_and_no_other() -> None:
    delta = {"role": "assistant", "content": "", "reasoning": None}
    assert streamed(delta=delta) == {
        "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        ],
    }  # fmt: skip


def test_calls_beside_an_empty_text_have_no_text() -> None:
    assert whole(message=MESSAGE | {"content": "", "tool_calls": [CALL]})["choices"][0]["message"]["content"] is None


def test_a_streamed_call_begins_with_arguments_to_add_to() -> None:
    begins = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f"}}
    goes_on = {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": "{}"}}
    deltas = [streamed(delta={"tool_calls": [call]})["choices"][0]["delta"] for call in (begins, goes_on)]
    assert deltas == [
        {"tool_calls": [begins | {"function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
    ]


def test_what_one_chunk_adds_to_a_call_is_one_entry() -> None:
    name = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f"}}
    arguments = [{"index": 0, "function": {"arguments": text}} for text in ('{"a":', "1}")]
    assert streamed(delta={"tool_calls": [name, *arguments]})["choices"][0]["delta"] == {
        "tool_calls": [name | {"function": {"name": "f", "arguments": '{"a":1}'}}]
    }


def test_each_call_of_a_chunk_has_a_chunk_of_its_own() -> None:
    # As at OpenAI: clients read the first entry of a chunk only.
    calls = [CALL | {"index": index, "id": f"call_{index}"} for index in range(3)]
    delta = {"role": "assistant", "content": "Well.", "tool_calls": calls}
    chunks = parts(delta=delta, logprobs=LOGPROBS, finish_reason="tool_calls")
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert [choice["delta"] for choice in choices] == [
        delta | {"tool_calls": calls[:1]}, {"tool_calls": calls[1:2]}, {"tool_calls": calls[2:]}
    ]  # fmt: skip
    assert [choice["logprobs"] is None for choice in choices] == [False, True, True]
    assert [choice["finish_reason"] for choice in choices] == [None, None, "tool_calls"]
