"""vLLM's errors as it words them, and what the contract makes of each."""

import json
from typing import Any

import pytest

from contract.protocol import RequestHead
from deployments.vllm.chat import ChatDialect
from deployments.vllm.errors import validation_error


def vllm_error(message: str, param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "BadRequestError", "param": param, "code": 400}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, vllm_error("too long (parameter=input_tokens, value=9)", "input_tokens"),
         (422, "context_length_exceeded", "messages")),
        (400, vllm_error("Grammar error: Invalid type: nonsense"), (422, "invalid_json_schema", "response_format")),
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


def test_null_fields_of_the_engine_go_and_everything_else_stays() -> None:
    body = {
        "id": "x",
        "choices": [
            {"index": 0, "logprobs": None, "stop_reason": None, "token_ids": None,
             "message": {"content": "a", "refusal": None, "reasoning": None}},
            {"index": 1, "stop_reason": 7, "message": {"content": None, "reasoning": "because"}},
        ],
        "prompt_logprobs": None,
        "service_tier": None,
        "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0, "multimodal_tokens": None}},
    }  # fmt: skip
    turned, usage = ChatDialect().body(json.dumps(body).encode(), RequestHead("/", "id", include_usage=False, echo={}))
    assert json.loads(turned) == {
        "id": "x",
        "choices": [
            {"index": 0, "logprobs": None, "message": {"content": "a", "refusal": None}},
            {"index": 1, "stop_reason": 7, "message": {"content": None, "reasoning": "because"}},
        ],
        "service_tier": None,
        "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}},
    }
    assert usage == {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}}
