"""POST /v1/messages and /v1/messages/count_tokens, of Anthropic's API: the wire, and what Claude Code sends."""

import json
from typing import Any

import httpx
import pytest

from app.keys import LOCAL_KEY
from tests.conftest import Service
from tests.contract.conftest import MODEL, VISION_MODEL
from tests.contract.test_errors import NO_RANGE, UNKNOWN_REFERENCE, WRONG_KEY
from tests.contract.weather import SCHEMA, assert_fits
from tests.sample_images import PNG, ImageServer, data_url
from tests.unit.test_gateway_messages import assert_anthropic_error

MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
TOOL = {"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}
FORMAT = {"format": {"type": "json_schema", "schema": SCHEMA}}
SOURCE = {"type": "base64", "media_type": "image/png", "data": data_url(PNG).partition(",")[2]}
FIELDS = {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"}
USAGE = {"input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"}
INVALID = "invalid_request_error"
THINKING = {"model": VISION_MODEL, "max_tokens": 1200, "thinking": {"type": "enabled", "budget_tokens": 1024}}
STREAMED = pytest.mark.parametrize("stream", [False, True])
# A conversation with everything that a text model reads, here and as chat has it.
CONVERSATION: dict[str, Any] = {
    "system": [{"type": "text", "text": "Be brief."}],
    "tools": [TOOL],
    "messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"unit": "kelvin", "degrees": 1}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sunny"}]},
            {"type": "text", "text": "And now?"},
        ]},
    ],
}  # fmt: skip
CHAT_CALL = {"name": "get_weather", "arguments": '{"unit": "kelvin", "degrees": 1}'}
CHAT_CONVERSATION: dict[str, Any] = {
    "tools": [{"type": "function", "function": {"name": "get_weather", "description": "The weather.",
                                                "parameters": SCHEMA}}],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "Let me see.",
         "tool_calls": [{"id": "toolu_1", "type": "function", "function": CHAT_CALL}]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "sunny"},
        {"role": "user", "content": "And now?"},
    ],
}  # fmt: skip


def body_of(**changes: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Say something."}]
    return {"model": MODEL, "max_tokens": 6, "temperature": 0, "messages": messages} | changes


def answered(http: httpx.Client, **changes: Any) -> dict[str, Any]:
    """A message, whole, or put together from its stream as the package of Anthropic does."""
    response = http.post(MESSAGES, json=body_of(**changes))
    assert response.status_code == 200, response.text
    return assembled(events_of(response)) if changes.get("stream") else response.json()


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream that ended well, each under its name."""
    *blocks, rest = response.text.split("\n\n")
    assert rest == ""
    events = []
    for block in blocks:
        first, second = block.split("\n")
        events.append(json.loads(second.removeprefix("data: ")))
        assert first == f"event: {events[-1]['type']}"
    assert events[-1] == {"type": "message_stop"}
    return events


def assembled(events: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = events[0]["message"]
    inputs: dict[int, str] = {}
    for event in events[1:]:
        delta = event.get("delta", {})
        match event["type"], delta.get("type"):
            case "content_block_start", _:
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
            case "content_block_delta", "input_json_delta":
                inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
            case "content_block_delta", "text_delta" | "thinking_delta" | "signature_delta":
                name = delta["type"].removesuffix("_delta")
                message["content"][event["index"]][name] += delta[name]
            case "message_delta", _:
                message |= delta | {"usage": event["usage"]}
    for index, text in inputs.items():
        message["content"][index]["input"] = json.loads(text)
    return message


def text_of(message: dict[str, Any]) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def prompt_tokens(usage: dict[str, int]) -> int:
    return sum(count for name, count in usage.items() if name != "output_tokens")


@STREAMED
def test_a_message_has_every_field_and_no_other(http: httpx.Client, stream: bool) -> None:
    message = answered(http, stream=stream)
    assert set(message) == FIELDS
    assert set(message["usage"]) == USAGE
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", MODEL)
    assert message["stop_reason"] in ("max_tokens", "end_turn")
    assert message["stop_sequence"] is None
    assert [set(block) for block in message["content"]] == [{"type", "text"}]
    assert 0 < message["usage"]["output_tokens"] <= 6


def test_a_stream_has_its_events_in_order_and_the_text_of_the_whole(http: httpx.Client) -> None:
    events = events_of(http.post(MESSAGES, json=body_of(stream=True, metadata={"user_id": "u"})))
    kinds = [event["type"] for event in events]
    deltas = kinds.count("content_block_delta")
    assert kinds == [
        "message_start", "content_block_start", *["content_block_delta"] * deltas, "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    started = events[0]["message"]
    assert set(started) == FIELDS | {"metadata"}
    assert (started["content"], started["stop_reason"], started["metadata"]) == ([], None, {"user_id": "u"})
    assert prompt_tokens(started["usage"]) > 0
    assert assembled(events)["content"] == answered(http)["content"]


def test_the_same_conversation_is_the_same_prompt_as_on_chat(http: httpx.Client) -> None:
    chat = http.post(
        "/v1/chat/completions", json={"model": MODEL, "max_tokens": 6, "temperature": 0} | CHAT_CONVERSATION
    )
    message = answered(http, **CONVERSATION)
    assert text_of(message) == (chat.json()["choices"][0]["message"]["content"] or "")
    assert prompt_tokens(message["usage"]) == chat.json()["usage"]["prompt_tokens"]
    counted = http.post(COUNT, json={"model": MODEL} | CONVERSATION)
    assert counted.json() == {"input_tokens": chat.json()["usage"]["prompt_tokens"]}


@STREAMED
def test_a_stop_sequence_ends_a_message_and_is_named(http: httpx.Client, stream: bool) -> None:
    text = text_of(answered(http, max_tokens=30))
    stop = text[4:7]
    message = answered(http, max_tokens=30, stop_sequences=["never written", stop], stream=stream)
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", stop)
    assert text_of(message) == text[: text.index(stop)]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}], ids=["any", "named"])
@STREAMED
def test_a_forced_call_fits_its_schema(http: httpx.Client, choice: Any, stream: bool) -> None:
    choice = choice | {"disable_parallel_tool_use": True}
    message = answered(http, tools=[TOOL], tool_choice=choice, max_tokens=400, stream=stream)
    assert message["stop_reason"] == "tool_use"
    (call,) = message["content"]
    assert set(call) == {"type", "id", "name", "input"}
    assert call["name"] == "get_weather"
    assert_fits(call["input"])


@pytest.mark.parametrize("tokens", range(8, 50, 6))
def test_a_call_that_the_limit_cuts_has_what_is_whole_of_its_input(http: httpx.Client, tokens: int) -> None:
    message = answered(http, tools=[TOOL], tool_choice={"type": "tool", "name": "get_weather"}, max_tokens=tokens)
    assert message["stop_reason"] == "max_tokens"
    assert len(message["content"]) == 1
    for block in message["content"]:
        assert block["type"] in ("text", "tool_use")
        assert set(block.get("input", {})) <= {"unit", "degrees"}


@STREAMED
def test_the_answer_follows_a_schema(http: httpx.Client, stream: bool) -> None:
    for fields in ({"output_config": FORMAT}, {"output_format": FORMAT["format"]}):
        message = answered(http, max_tokens=100, stream=stream, **fields)
        assert_fits(json.loads(text_of(message)))
        assert message["stop_reason"] == "end_turn"


class TestThinking:
    """A model that reasons, and whose weights are random: its budget ends its thinking."""

    @STREAMED
    def test_it_stands_in_a_block_of_its_own_before_the_answer(self, http: httpx.Client, stream: bool) -> None:
        message = answered(http, **THINKING, output_config=FORMAT, stream=stream)
        thinking, text = message["content"]
        assert (thinking["type"], text["type"]) == ("thinking", "text")
        assert thinking["thinking"]
        assert thinking["signature"]
        assert "</think>" not in thinking["thinking"] + text["text"]
        assert_fits(json.loads(text["text"]))

    def test_a_conversation_goes_on_after_it(self, http: httpx.Client) -> None:
        first = answered(http, **THINKING | {"max_tokens": 1100})
        turns = [
            {"role": "user", "content": "Think."},
            {"role": "assistant", "content": first["content"]},
            {"role": "user", "content": "More."},
        ]
        assert answered(http, model=VISION_MODEL, messages=turns)["usage"]["output_tokens"] > 0

    def test_it_may_be_switched_off(self, http: httpx.Client) -> None:
        """What the model makes of that is its template's to say; this one does not read it."""
        assert answered(http, model=VISION_MODEL, thinking={"type": "disabled"})["content"]

    def test_a_model_that_does_not_reason_drops_it_and_says_so(self, http: httpx.Client) -> None:
        response = http.post(MESSAGES, json=body_of(thinking={"type": "adaptive"}))
        assert response.headers["x-param-adjustments"] == ('thinking;action=drop;reason="the model does not reason"')
        assert [block["type"] for block in response.json()["content"]] == ["text"]


def image_tokens(http: httpx.Client, *content: Any) -> int:
    counted = http.post(COUNT, json={"model": VISION_MODEL, "messages": [{"role": "user", "content": list(content)}]})
    assert counted.status_code == 200, counted.text
    return int(counted.json()["input_tokens"])


def test_an_image_becomes_tokens_of_the_prompt_from_base64_and_from_a_url(
    http: httpx.Client, image_server: ImageServer
) -> None:
    text = {"type": "text", "text": "What is this?"}
    given = {"type": "image", "source": SOURCE}
    linked = {"type": "image", "source": {"type": "url", "url": image_server.url("/good.png")}}
    alone, one, other, two = (image_tokens(http, text, *images) for images in ([], [given], [linked], [given, linked]))
    assert alone < one == other < two
    message = answered(http, model=VISION_MODEL, messages=[{"role": "user", "content": [text, given]}])
    assert prompt_tokens(message["usage"]) == one


def test_counting_is_not_generating(http: httpx.Client) -> None:
    response = http.post(COUNT, json={"model": MODEL, "messages": [{"role": "user", "content": "hi"}]})
    assert set(response.json()) == {"input_tokens"}
    assert response.json()["input_tokens"] < image_tokens(http, {"type": "text", "text": "hi " * 20})


def claude_code(**changes: Any) -> dict[str, Any]:
    """A request as Claude Code makes it, with fewer words."""
    cached = {"cache_control": {"type": "ephemeral"}}
    tools = [
        {
            "name": name,
            "description": f"{name} something. " * 2,
            "input_schema": {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {"path": {"type": "string", "description": "Where."}, "limit": {"type": "number"}},
                "required": ["path"],
                "additionalProperties": False,
            },
        }
        for name in ("Read", "Edit", "Bash", "mcp__github__create_issue")
    ]
    return {
        "model": MODEL,
        "max_tokens": 32_000,
        "temperature": 1,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.0; cc_entrypoint=cli; cch=1a2b3;"},
            {"type": "text", "text": "You are a coding agent.", **cached},
        ],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>Be brief.</system-reminder>"},
                {"type": "text", "text": "List the files.", **cached},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "I will look.", "signature": "abc"},
                {"type": "text", "text": "I will look."},
                {"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": {"path": "."}},
                {"type": "tool_use", "id": "toolu_02", "name": "Read", "input": {"path": "a"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_01", "content": "a\nb", "is_error": False},
                {"type": "tool_result", "tool_use_id": "toolu_02", "content": [{"type": "text", "text": "no file"}],
                 "is_error": True, **cached},
            ]},
            {"role": "system", "content": "The user changed nothing."},
            {"role": "user", "content": "Go on."},
        ],
        "tools": tools,
        "metadata": {"user_id": json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": "s" * 36})},
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "stream": True,
    } | changes  # fmt: skip


def test_claude_code_is_answered(service: Service) -> None:
    headers = {
        "x-api-key": LOCAL_KEY,
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
        "anthropic-dangerous-direct-browser-access": "true",
        "x-app": "cli",
        "x-stainless-retry-count": "0",
    }
    base_url = f"http://127.0.0.1:{service.port}"
    with httpx.Client(base_url=base_url, headers=headers, params={"beta": "true"}, timeout=60) as agent:
        response = agent.post(MESSAGES, json=claude_code(stop_sequences=[]))
        assert response.status_code == 200, response.text
        message = assembled(events_of(response))
        assert message["content"]
        assert response.headers["x-param-adjustments"] == (
            'max_tokens;action=clamp;from=32000;to=2048, thinking;action=drop;reason="the model does not reason", '
            "context_management;action=ignore, output_config.effort;action=drop;"
            'reason="the model\'s template does not read it"'
        )
        prompt = {
            name: value
            for name, value in claude_code().items()
            if name not in ("max_tokens", "temperature", "stream", "metadata")
        }
        counted = agent.post(COUNT, json=prompt)
        assert counted.json()["input_tokens"] == prompt_tokens(message["usage"])


def test_its_attribution_is_no_part_of_the_prompt(http: httpx.Client) -> None:
    without = claude_code()["system"][1:]
    prompts = [claude_code(stream=False, max_tokens=1), claude_code(stream=False, max_tokens=1, system=without)]
    first, second = (prompt_tokens(http.post(MESSAGES, json=one).json()["usage"]) for one in prompts)
    assert first == second


@pytest.mark.parametrize(
    ("changes", "status", "kind", "said"),
    [
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, 422, INVALID, "2048"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": SOURCE}]}]}, 400, INVALID, "`vision`"),
        ({"messages": None}, 400, INVALID, "`messages` is missing"),
        ({"temperature": "hot"}, 400, INVALID, "`temperature`"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, 400, INVALID, "`tools.0`"),
        ({"model": "claude-sonnet-4-5"}, 404, "not_found_error", "GET /v1/models"),
        # What only the engine finds, and reports only after its own 200 where the answer is a stream.
        ({"output_config": {"format": {"type": "json_schema", "schema": UNKNOWN_REFERENCE}}}, 422, INVALID, "schema"),
        ({"output_config": {"format": {"type": "json_schema", "schema": NO_RANGE}}}, 422, INVALID, "schema"),
    ],
    ids=["too long", "an image", "no messages", "a type", "a hosted tool", "a model", "a reference", "no range"],
)  # fmt: skip
@STREAMED
def test_what_cannot_be_done_has_a_status_on_streams_too(
    http: httpx.Client, changes: Any, status: int, kind: str, said: str, stream: bool
) -> None:
    response = http.post(MESSAGES, json=body_of(stream=stream, **changes))
    message = assert_anthropic_error(response, status, kind)
    assert said in message
    assert not any(word in message for word in ("Traceback", "'input'", "Param", "vllm", "0x")), message


@pytest.mark.parametrize("path", [MESSAGES, COUNT, f"/v1/{MODEL}/messages"])
def test_no_key_or_a_wrong_one_is_a_401(http: httpx.Client, path: str) -> None:
    for headers in ({"authorization": ""}, {"authorization": WRONG_KEY}, {"x-api-key": "sk-ant-api03-x"}):
        assert_anthropic_error(http.post(path, json=body_of(), headers=headers), 401, "authentication_error")


def test_a_body_over_the_limit_is_a_413(http: httpx.Client) -> None:
    assert_anthropic_error(http.post(MESSAGES, content=b" " * (33 * 1024 * 1024)), 413, "request_too_large")


def test_strict_params_refuses_what_would_be_changed(http: httpx.Client) -> None:
    changed = body_of(temperature=1.5, surprise=1, strict_params=True)
    said = assert_anthropic_error(http.post(MESSAGES, json=changed), 400, INVALID)
    assert "`surprise` would be dropped" in said
    assert http.post(MESSAGES, json=body_of(service_tier="auto", strict_params=True)).status_code == 200


def test_a_pipeline_has_both_routes(http: httpx.Client) -> None:
    request = {name: value for name, value in body_of().items() if name != "model"}
    assert http.post(f"/v1/{MODEL}/messages", json=request).json()["model"] == MODEL
    assert http.post(f"/v1/{MODEL}/messages/count_tokens", json={"messages": request["messages"]}).status_code == 200
