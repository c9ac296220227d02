"""Requests that are made to hurt the gateway: each is refused by a bound, and none is a failure of ours."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from app.parameters.adjustments import header_value
from app.parameters.request_bounds import MAX_DEPTH, MAX_DROPPED, MAX_FIELDS, MAX_MESSAGES, MAX_PARTS, MAX_VALUES
from contract.adjustments import Adjustment
from contract.profile import Profile
from tests.unit.conftest import assert_error, chat

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
INVALID = "invalid_request_error"


def nested(depth: int) -> list[Any]:
    """Arrays inside each other."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def text(number: int) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "a"}] * number


def calls(number: int) -> list[dict[str, Any]]:
    function = {"name": "f", "arguments": "{}"}
    return [{"id": f"call_{i}", "type": "function", "function": function} for i in range(number)]


def assistant(number: int) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": calls(number)}


class TestDepth:
    async def test_json_at_the_limit_passes(self, client: Any) -> None:
        # The request's own object and the message are two levels, the part is the third and the fourth.
        response = await client.post(CHAT, json=chat(messages=[user("hi") | {"x": nested(MAX_DEPTH - 3)}]))
        assert response.status_code == 200

    @pytest.mark.parametrize("depth", [MAX_DEPTH - 2, 300, 900])
    async def test_json_nested_deeper_is_invalid(self, client: Any, relay: Any, depth: int) -> None:
        response = await client.post(CHAT, json=chat(messages=[user("hi") | {"x": nested(depth)}]))
        assert_error(response, 400, INVALID, "invalid_json")
        assert f"deeper than {MAX_DEPTH}" in response.json()["error"]["message"]
        assert relay.sent == []

    async def test_brackets_in_a_text_are_no_depth(self, client: Any) -> None:
        assert (await client.post(CHAT, json=chat(messages=[user('[{"' * 100_000)]))).status_code == 200


class TestCounts:
    @pytest.mark.parametrize(
        ("path", "request_", "param"),
        [
            (CHAT, chat(**{f"x{i}": 1 for i in range(MAX_FIELDS)}), None),
            (CHAT, chat(stream=True, stream_options={f"x{i}": 1 for i in range(MAX_FIELDS + 1)}), "stream_options"),
            (CHAT, chat(messages=[user("hi")] * (MAX_MESSAGES + 1)), "messages"),
            (CHAT, chat(messages=[user(text(600)), user(text(MAX_PARTS - 599))]), "messages"),
            (CHAT, chat(messages=[assistant(1000)] * 5), "messages"),
            (CHAT, chat(messages=[user("hi") | {"x": [0] * MAX_VALUES}]), None),
            (CHAT, chat(messages=[user("")] * 100_000), None),
            (RESPONSES, {"model": "alpha", "input": [user("hi")] * (MAX_MESSAGES + 1)}, "input"),
            (
                RESPONSES,
                {"model": "alpha", "input": [user([{"type": "input_text", "text": "a"}] * (MAX_PARTS + 1))]},
                "input",
            ),
            (
                RESPONSES,
                {"model": "alpha", "input": [{"type": "reasoning", "summary": [{"text": "a"}] * (MAX_PARTS + 1)}]},
                "input",
            ),
            (EMBEDDINGS, {"model": "embedder", "input": [[1]] * 500_000}, None),
        ],
        ids=[
            "fields at the top", "fields of an option", "messages", "parts", "tool calls",
            "values in a field that is not known", "very many messages", "items", "parts of an item",
            "parts of a summary", "arrays of tokens",
        ],
    )  # fmt: skip
    async def test_more_than_the_bound_is_a_400(
        self, client: Any, relay: Any, registry: Any, path: str, request_: dict[str, Any], param: str | None
    ) -> None:
        if request_["model"] == "embedder":
            request_ = request_ | {"model": "alpha"}
            registry.learn("alpha", Profile("vllm", frozenset({"embeddings"}), {}, {"context_length": 256}))
        assert_error(await client.post(path, json=request_), 400, INVALID, "too_large", param)
        assert relay.sent == []

    @pytest.mark.parametrize("value", [b"[]", b"{}", b"1", b'""', b'"a":1', b'{"a,b":""}'])
    async def test_values_are_counted_before_they_are_parsed(self, client: Any, value: bytes) -> None:
        content = b'{"model": "alpha", "messages": [' + (value + b",") * (MAX_VALUES + 1) + b"that is no JSON"
        assert_error(await client.post(CHAT, content=content), 400, INVALID, "too_large")

    async def test_commas_and_brackets_in_a_text_are_no_values(self, client: Any) -> None:
        content = ',[{"' * MAX_VALUES
        assert (await client.post(CHAT, json=chat(messages=[user(content)]))).status_code == 200

    async def test_more_unknown_fields_in_a_parameter_than_the_bound(self, client: Any) -> None:
        part = {"type": "text", "text": "a"} | {f"x{i}": 1 for i in range(MAX_DROPPED + 1)}
        response = await client.post(CHAT, json=chat(messages=[user([part])]))
        assert_error(response, 400, INVALID, "too_large", "messages")

    async def test_a_long_conversation_may_have_one_in_each_part(self, client: Any) -> None:
        turns = [user([{"type": "text", "text": "a", "index": 0}])] * MAX_PARTS
        response = await client.post(CHAT, json=chat(messages=turns))
        assert response.status_code == 200
        assert "and-more" in response.headers["x-param-adjustments"]

    async def test_a_field_of_a_part_that_is_null_is_none(self, client: Any) -> None:
        part = {"type": "text", "text": "a", "cache_control": None}
        response = await client.post(CHAT, json=chat(messages=[user([part])], strict_params=True))
        assert response.status_code == 200

    @pytest.mark.parametrize(
        "request_",
        [
            chat(**{f"x{i}": 1 for i in range(MAX_FIELDS - 2)}),
            chat(messages=[user("hi")] * MAX_MESSAGES),
            chat(messages=[user(text(1000)), user(text(MAX_PARTS - 1000))]),
            chat(messages=[assistant(1000)] * 4),
        ],
        ids=["fields", "messages", "parts", "tool calls"],
    )
    async def test_the_bound_itself_is_legal(self, client: Any, request_: dict[str, Any]) -> None:
        assert (await client.post(CHAT, json=request_)).status_code == 200


class TestHeader:
    def test_what_no_longer_fits_is_counted_and_not_looked_at(self) -> None:
        adjustments = Watched([Adjustment(f"x{i}", "drop", reason="unknown parameter") for i in range(80_000)])
        header = header_value(adjustments)
        assert header.endswith(f"and-more;count={80_000 - header.count('action=drop')}")
        assert adjustments.looked_at < 200


class Watched(Sequence[Adjustment]):
    """Counts how many of its items are looked at."""

    def __init__(self, items: list[Adjustment]) -> None:
        self._items = items
        self.looked_at = 0

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        self.looked_at += 1
        return self._items[index]


class TestWrongTypes:
    @pytest.mark.parametrize("odd", [{}, [], [[]], 1, None, True])
    async def test_a_tool_call_id_of_another_type(self, client: Any, odd: Any) -> None:
        messages = [user("hi"), assistant(1), {"role": "tool", "content": "a", "tool_call_id": odd}]
        response = await client.post(CHAT, json=chat(messages=messages))
        assert_error(response, 400, INVALID, "invalid_value", "messages.2.tool_call_id")

    @pytest.mark.parametrize("odd", [{}, [], [[]], 1, None, True])
    async def test_a_call_id_of_another_type(self, client: Any, odd: Any) -> None:
        items = [user("hi"), {"type": "function_call_output", "call_id": odd, "output": "a"}]
        response = await client.post(RESPONSES, json={"model": "alpha", "input": items})
        assert_error(response, 400, INVALID, "invalid_value", "input.1.call_id")

    async def test_an_integer_that_json_cannot_hold_is_clamped(self, client: Any) -> None:
        response = await client.post(RESPONSES, json={"model": "alpha", "input": "hi", "max_tool_calls": 1e20})
        assert response.status_code == 200
        assert response.headers["x-param-adjustments"].startswith("max_tool_calls;action=clamp;")

    async def test_and_where_the_model_has_no_limit(self, client: Any, registry: Any) -> None:
        registry.learn("alpha", Profile("vllm", frozenset({"chat"}), {}, {"context_length": 2048}))
        response = await client.post(CHAT, json=chat(top_k=1e20))
        assert response.status_code == 200

    @pytest.mark.parametrize("part", [{}, 1, {"type": "input_image", "image_url": 1}])
    @pytest.mark.parametrize("item", [{"type": "reasoning"}, {"type": "function_call", "call_id": "c", "name": "f"}])
    async def test_an_item_without_a_content_of_its_own(self, client: Any, item: dict[str, Any], part: Any) -> None:
        items = [user("hi"), item | {"arguments": "{}", "content": [part], "output": [part]}]
        response = await client.post(RESPONSES, json={"model": "alpha", "input": items})
        assert response.status_code == 200


DEEP = "[" * MAX_DEPTH + "{" + "}" + "]" * MAX_DEPTH


class TestArguments:
    """Of a function call: JSON in a text, which the engine parses."""

    @pytest.mark.parametrize(
        "arguments",
        [
            DEEP,
            "[" * 10_000,
            '{"a":' * 10_000,
            '"\\"' + "[" * 64 + '"' + "[" * 65,
            DEEP + '"' + '\\"' * 50_000 + "\\",
        ],
    )
    async def test_nested_too_deep(self, client: Any, relay: Any, arguments: str) -> None:
        call = calls(1)[0] | {"function": {"name": "f", "arguments": arguments}}
        messages = [user("hi"), {"role": "assistant", "tool_calls": [*calls(1), call]}]
        response = await client.post(CHAT, json=chat(messages=messages))
        assert_error(response, 400, INVALID, "invalid_json", "messages.1.tool_calls.1.function.arguments")
        items = [user("hi"), {"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments}]
        response = await client.post(RESPONSES, json={"model": "alpha", "input": items})
        assert_error(response, 400, INVALID, "invalid_json", "input.1.arguments")
        assert relay.sent == []

    @pytest.mark.parametrize("arguments", ["[]" * 100_000, '"",' * 100_000 + "[]" * 65])
    async def test_too_many_of_them_together(self, client: Any, arguments: str) -> None:
        call = calls(1)[0] | {"function": {"name": "f", "arguments": arguments}}
        messages = [user("hi"), {"role": "assistant", "tool_calls": [call, call, call]}]
        assert_error(await client.post(CHAT, json=chat(messages=messages)), 400, INVALID, "too_large", "messages")

    @pytest.mark.parametrize(
        "arguments",
        [
            "",
            "no JSON",
            "[" * MAX_DEPTH,
            "[]" * 100,
            '{"a": "' + "[" * 100 + '"}',
            '"' + "[" * 100,
            '"' + "[" * 100 + "\\",
            json.dumps([{f"field {i}": "x" for i in range(10)}] * 3000),
        ],
    )
    async def test_what_is_not_deep(self, client: Any, arguments: str) -> None:
        call = calls(1)[0] | {"function": {"name": "f", "arguments": arguments}}
        response = await client.post(
            CHAT, json=chat(messages=[user("hi"), {"role": "assistant", "tool_calls": [call]}])
        )
        assert response.status_code == 200
