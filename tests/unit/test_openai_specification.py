"""The check of answers against OpenAI's specification refuses what only a specification can."""

from typing import Any

import pytest

from tests.openai_specification import violation

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
MESSAGE = {"role": "assistant", "content": "a", "refusal": None}
COMPLETION = {
    "id": "1", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE,
    "choices": [{"index": 0, "message": MESSAGE, "logprobs": None, "finish_reason": "stop"}],
}  # fmt: skip
DELTA = {
    "type": "response.output_text.delta", "sequence_number": 1, "item_id": "a", "output_index": 0, "content_index": 0,
    "delta": "a", "logprobs": [],
}  # fmt: skip
ERROR = {"message": "m", "type": "t", "param": None, "code": None}


@pytest.mark.parametrize(
    ("name", "right", "wrong", "place"),
    [
        ("CreateChatCompletionResponse", COMPLETION, {"usage": USAGE | {"completion_tokens_details": None}}, "$.usage"),
        ("CreateChatCompletionResponse", COMPLETION, {"system_fingerprint": None}, "$.system_fingerprint"),
        ("ResponseStreamEvent", DELTA, {"delta": None}, "$.delta"),
        ("ResponseStreamEvent", DELTA, {"type": "response.surprise"}, "$"),
        ("ErrorResponse", {"error": ERROR}, {"error": ERROR | {"type": None}}, "$.error.type"),
    ],
)
def test_what_does_not_fit_is_named(name: str, right: dict[str, Any], wrong: dict[str, Any], place: str) -> None:
    assert violation(name, right | {"surprise": 1}) is None
    found = violation(name, right | wrong)
    assert found
    assert found.startswith(place)
