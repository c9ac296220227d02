"""Custom tools of POST /v1/responses, whose input is free text, as agents send them."""

from typing import Any

import pytest

from app.endpoints.chat import TABLE as CHAT_TABLE
from app.endpoints.responses import TABLE
from app.parameters.adjust import Adjusted, adjust
from contract.errors import ApiError
from tests.unit.sample_requests import ABLE, BASE

PATCH = {"type": "custom", "name": "apply_patch", "description": "Edit files.", "format": {"type": "text"}}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": 'start: "a"'}
FUNCTION = {"type": "function", "name": "ring"}
CALL = {"type": "custom_tool_call", "call_id": "1", "name": "apply_patch", "input": "*** Begin"}
OUTPUT = {"type": "custom_tool_call_output", "call_id": "1", "output": "Done."}


def adjusted(**fields: Any) -> Adjusted:
    return adjust(TABLE, {"input": "Hi", "tools": [PATCH, FUNCTION]} | fields, ABLE)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": [{"type": "custom", "name": "a"}]},
        {"tool_choice": {"type": "custom", "name": "apply_patch"}},
        {"tool_choice": {"type": "function", "name": "ring"}},
        {"input": [{"role": "user", "content": "Hi"}, CALL, OUTPUT]},
    ],
)
def test_they_pass_unchanged(fields: dict[str, Any]) -> None:
    outcome = adjusted(**fields)
    assert outcome.adjustments == ()
    assert fields.items() <= outcome.engine.items()


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"tools": [PATCH | {"format": GRAMMAR}]}, "unsupported_parameter", "tools.0.format"),
        ({"tools": [PATCH | {"format": {"type": "xml"}}]}, "invalid_value", "tools.0.format.type"),
        ({"tools": [PATCH | {"format": "text"}]}, "invalid_type", "tools.0.format"),
        ({"tools": [PATCH | {"name": "a b"}]}, "invalid_value", "tools.0.name"),
        ({"tools": [PATCH, FUNCTION | {"name": "apply_patch"}]}, "invalid_value", "tools"),
        ({"tools": [{"type": "code_interpreter"}]}, "unsupported_parameter", "tools.0"),
        ({"tool_choice": {"type": "custom", "name": "ring"}}, "invalid_value", "tool_choice"),
        ({"input": [OUTPUT]}, "invalid_value", "input.0.call_id"),
        ({"input": [{"type": "custom_tool_call", "call_id": "1", "name": "a"}]}, "missing_required_parameter",
         "input.0.input"),
    ],
)  # fmt: skip
def test_what_is_none_is_a_400(fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        adjusted(**fields)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)


def test_a_chat_completion_has_none_and_says_where_they_are() -> None:
    with pytest.raises(ApiError, match="/v1/responses has") as caught:
        adjust(CHAT_TABLE, BASE | {"tools": [{"type": "custom", "custom": {"name": "a"}}]}, ABLE)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "tools.0")
