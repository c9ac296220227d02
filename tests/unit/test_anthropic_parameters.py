"""Requests of Anthropic's API: their blocks, tools and thinking, and what an engine gets of them."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from app.endpoints.messages import COUNT_TOKENS, MESSAGES
from app.parameters.adjust import Adjusted, adjust
from app.parameters.media import media_bytes
from app.upstream.affinity import prefix_of
from contract.errors import ApiError
from contract.profile import Profile
from tests.sample_images import PNG, data_url

URL = data_url(PNG)
SOURCE = {"type": "base64", "media_type": "image/png", "data": URL.partition(",")[2]}
PROFILE = Profile(
    engine="vllm",
    capabilities=frozenset({"chat", "tools", "vision", "reasoning"}),
    limits={"context_length": 4096, "vocabulary_size": 384},
)
CACHED = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "toolu_1"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(content: str = "hi") -> dict[str, Any]:
    return {"type": "text", "text": content}


def adjusted(*messages: Any, profile: Profile = PROFILE, **fields: Any) -> Adjusted:
    request = {"max_tokens": 2048, "messages": list(messages) or [user(text())]} | fields
    return adjust(MESSAGES.table, request, profile)


def names(outcome: Adjusted) -> list[str]:
    return [one.name for one in outcome.adjustments]


class TestMessages:
    def test_marks_of_a_cache_are_no_change(self) -> None:
        outcome = adjusted(
            user(text() | CACHED), assistant(CALL | CACHED), user(RESULT | CACHED | {"content": [text() | CACHED]}),
            system=[text("Be brief.") | CACHED], tools=[TOOL | CACHED],
        )  # fmt: skip
        assert outcome.adjustments == ()
        assert outcome.engine["tools"] == [TOOL]

    def test_what_is_unknown_in_a_block_is_dropped_and_named(self) -> None:
        outcome = adjusted(user(text() | {"surprise": 1}))
        assert names(outcome) == ["messages.0.content.0.surprise"]
        assert outcome.engine["messages"] == [user(text())]

    @pytest.mark.parametrize(
        ("messages", "code", "param"),
        [
            ([{"role": "tool", "content": "a"}], "invalid_value", "messages.0.role"),
            ([{"role": [], "content": "a"}], "invalid_value", "messages.0.role"),
            ([{"role": "user"}], "missing_required_parameter", "messages.0.content"),
            ([{"role": "user", "content": ""}], "invalid_value", "messages.0.content"),
            ([{"role": "user", "content": {}}], "invalid_type", "messages.0.content"),
            ([user()], "invalid_value", "messages.0.content"),
            ([assistant(), user(text())], "invalid_value", "messages.0.content"),
            ([user(text(), text(""))], "invalid_value", "messages.0.content.1.text"),
            ([{"role": "system", "content": [text("")]}, user(text())], "invalid_value", "messages.0.content.0.text"),
            ([user({"type": "text"})], "invalid_type", "messages.0.content.0.text"),
            ([user(CALL)], "invalid_value", "messages.0.content.0.type"),
            ([assistant(CALL | {"input": "{}"}), user(text())], "invalid_type", "messages.0.content.0.input"),
            ([user(RESULT)], "invalid_value", "messages.0.content.0.tool_use_id"),
            ([assistant(CALL), user(RESULT | {"content": [CALL]})], "invalid_value",
             "messages.1.content.0.content.0.type"),
            ([assistant(CALL), user(RESULT | {"is_error": 1})], "invalid_type", "messages.1.content.0.is_error"),
            ([user({"type": "document", "source": {}})], "unsupported_parameter", "messages.0.content.0"),
            ([assistant({"type": "server_tool_use"}), user(text())], "unsupported_parameter", "messages.0.content.0"),
            ([user({"type": "image", "source": {"type": "file", "file_id": "f"}})], "unsupported_parameter",
             "messages.0.content.0.source"),
            ([user({"type": "image", "source": SOURCE | {"media_type": "image/tiff"}})], "invalid_value",
             "messages.0.content.0.source.media_type"),
            ([{"role": "system", "content": [{"type": "image", "source": SOURCE}]}], "invalid_value",
             "messages.0.content.0.type"),
            ([user(text()), assistant(text("The answer is ("))], "unsupported_parameter", "messages.1"),
        ],
    )  # fmt: skip
    def test_what_is_not_legal_is_refused_by_its_place(self, messages: list[Any], code: str, param: str) -> None:
        with pytest.raises(ApiError) as caught:
            adjusted(*messages)
        assert (caught.value.code, caught.value.param) == (code, param)

    def test_a_block_of_the_system_prompt_has_text(self) -> None:
        with pytest.raises(ApiError) as caught:
            adjusted(system=[text("Be brief."), text("")])
        assert (caught.value.code, caught.value.param) == ("invalid_value", "system.1.text")

    def test_thinking_comes_back_as_it_was_sent(self) -> None:
        blocks = ({"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "x"})
        outcome = adjusted(assistant(*blocks, text()), user(text()))
        assert outcome.adjustments == ()
        assert outcome.engine["messages"][0] == assistant(*blocks, text())

    @pytest.mark.parametrize("turn", [[{"type": "redacted_thinking", "data": "x"}], [text("")], ""])
    def test_a_turn_of_the_assistant_without_anything_to_read_is_left_out(self, turn: Any) -> None:
        """An empty text is what an answer of no tokens has, which clients send back."""
        turns = (user(text("a")), {"role": "assistant", "content": turn}, user(text("b")))
        outcome = adjusted(*turns)
        assert outcome.adjustments == ()
        assert orjson.loads(MESSAGES.engine_body(outcome.engine, "m"))["messages"] == [turns[0], turns[2]]

    @pytest.mark.parametrize("block", [CALL, text(), {"type": "thinking", "thinking": "hm", "signature": "s"}])
    def test_a_turn_with_anything_to_read_stays(self, block: dict[str, Any]) -> None:
        turns = [assistant({"type": "redacted_thinking", "data": "x"}, block), user(text())]
        assert orjson.loads(MESSAGES.engine_body(adjusted(*turns).engine, "m"))["messages"] == turns

    @pytest.mark.parametrize("content", ["", [], [text("")]])
    def test_the_result_of_a_tool_may_be_empty(self, content: Any) -> None:
        assert adjusted(assistant(CALL), user(RESULT | {"content": content})).adjustments == ()

    @pytest.mark.parametrize(
        "block", [{"type": "image", "source": SOURCE}, RESULT | {"content": [{"type": "image", "source": SOURCE}]}]
    )
    def test_an_image_needs_vision_in_a_result_too(self, block: dict[str, Any]) -> None:
        with pytest.raises(ApiError, match="`vision`"):
            adjusted(assistant(CALL), user(block), profile=replace(PROFILE, capabilities=frozenset({"chat", "tools"})))

    def test_every_image_is_checked_as_a_data_url_and_counted_as_media(self) -> None:
        image = {"type": "image", "source": SOURCE}
        linked = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
        messages = [user(image, linked), assistant(CALL), user(RESULT | {"content": [text(), image]})]
        assert media_bytes(messages) == 2 * len(SOURCE["data"])
        slots = list(MESSAGES.images(adjusted(*messages).engine))
        assert [(slot.place, slot.url) for slot in slots] == [
            ("messages.0.content.0.source", URL),
            ("messages.0.content.1.source", "https://example.org/a.png"),
            ("messages.2.content.0.content.1.source", URL),
        ]

    def test_a_billing_header_that_differs_in_each_request_does_not_part_prompts(self) -> None:
        """Claude Code's, in the first block of its system prompt."""

        def prefix(number: int) -> tuple[int, ...]:
            billing = text(f"x-anthropic-billing-header: cc_version=2.1; cch={number};")
            return prefix_of(adjusted(system=[billing, text("You are Claude Code.")]).engine)

        assert prefix(1) == prefix(2)
        assert prefix(1) != prefix_of(adjusted(system="Other.").engine)


class TestTools:
    @pytest.mark.parametrize(
        ("tools", "code", "param"),
        [
            ([{"type": "web_search_20250305", "name": "web_search"}], "unsupported_parameter", "tools.0"),
            ([{"type": "bash_20250124", "name": "bash"}], "unsupported_parameter", "tools.0"),
            ([{"name": "a b", "input_schema": {}}], "invalid_value", "tools.0.name"),
            ([{"name": "a"}], "missing_required_parameter", "tools.0.input_schema"),
            ([TOOL, TOOL], "invalid_value", "tools"),
            ([TOOL | {"strict": "yes"}], "invalid_type", "tools.0.strict"),
        ],
    )
    def test_a_tool_is_the_client_s_own(self, tools: list[Any], code: str, param: str) -> None:
        with pytest.raises(ApiError) as caught:
            adjusted(tools=tools)
        assert (caught.value.code, caught.value.param) == (code, param)

    def test_what_a_tool_has_beyond_is_dropped_and_named(self) -> None:
        outcome = adjusted(tools=[TOOL | {"type": "custom", "defer_loading": True, "eager_input_streaming": True}])
        assert names(outcome) == ["tools.0.defer_loading"]
        assert outcome.engine["tools"] == [TOOL | {"type": "custom"}]

    @pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "g"}])
    def test_a_choice_needs_a_tool_to_choose(self, choice: dict[str, Any]) -> None:
        more: dict[str, Any] = {} if choice["type"] == "any" else {"tools": [TOOL]}
        with pytest.raises(ApiError) as caught:
            adjusted(tool_choice=choice, **more)
        assert caught.value.param == "tool_choice"

    @pytest.mark.parametrize("choice", [{"type": "none"}, {"type": "auto"}])
    @pytest.mark.parametrize("capabilities", [{"chat"}, {"chat", "tools"}])
    def test_without_tools_no_choice_is_none(self, choice: dict[str, Any], capabilities: set[str]) -> None:
        profile = replace(PROFILE, capabilities=frozenset(capabilities))
        outcome = adjusted(tool_choice=choice, tools=[], profile=profile, strict_params=True)
        assert outcome.adjustments == ()
        assert "tool_choice" not in orjson.loads(MESSAGES.engine_body(outcome.engine, "m"))

    def test_a_model_without_tools_refuses_the_choice_of_one(self) -> None:
        with pytest.raises(ApiError, match="`tools`") as caught:
            adjusted(tool_choice={"type": "any"}, profile=replace(PROFILE, capabilities=frozenset({"chat"})))
        assert caught.value.code == "unsupported_capability"

    @pytest.mark.parametrize("choice", [{"type": "none"}, {"type": "auto"}])
    def test_beside_tools_every_choice_reaches_the_engine(self, choice: dict[str, Any]) -> None:
        outcome = adjusted(tools=[TOOL], tool_choice=choice)
        assert orjson.loads(MESSAGES.engine_body(outcome.engine, "m"))["tool_choice"] == choice


class TestThinking:
    def test_a_model_that_does_not_reason_drops_it(self) -> None:
        outcome = adjusted(thinking={"type": "adaptive"}, profile=replace(PROFILE, lacks={"thinking": "no reasoning"}))
        assert [(one.name, one.reason) for one in outcome.adjustments] == [("thinking", "no reasoning")]

    def test_a_model_that_does_not_reason_need_not_be_kept_from_it(self) -> None:
        profile = replace(PROFILE, lacks={"thinking": "no reasoning"})
        outcome = adjusted(thinking={"type": "disabled"}, profile=profile, strict_params=True)
        assert outcome.adjustments == ()
        assert "thinking" not in outcome.engine

    def test_thinking_of_a_model_that_reasons_is_turned_off(self) -> None:
        assert adjusted(thinking={"type": "disabled"}).engine["thinking"] == {"type": "disabled"}

    def test_a_model_whose_reasoning_cannot_be_cut_chooses_its_length(self) -> None:
        enabled = {"type": "enabled", "budget_tokens": 1500}
        outcome = adjusted(thinking=enabled, profile=replace(PROFILE, lacks={"thinking_budget": "no marks"}))
        assert outcome.engine["thinking"] == {"type": "adaptive"}
        assert [(one.name, one.reason) for one in outcome.adjustments] == [("thinking.budget_tokens", "no marks")]

    def test_a_budget_and_a_limit_beyond_the_context_leave_an_answer(self) -> None:
        outcome = adjusted(max_tokens=32_000, thinking={"type": "enabled", "budget_tokens": 31_999})
        assert outcome.engine["max_tokens"] == 4096
        assert outcome.engine["thinking"]["budget_tokens"] == 4095
        assert [(one.name, one.before, one.after) for one in outcome.adjustments] == [
            ("max_tokens", 32_000, 4096),
            ("thinking", 31_999, 4095),
        ]

    def test_a_budget_that_leaves_no_answer_is_refused(self) -> None:
        with pytest.raises(ApiError) as caught:
            adjusted(thinking={"type": "enabled", "budget_tokens": 2048})
        assert (caught.value.code, caught.value.param) == ("invalid_value", "thinking.budget_tokens")

    def test_hidden_thinking_is_shown_and_that_is_said(self) -> None:
        outcome = adjusted(thinking={"type": "adaptive", "display": "omitted"})
        assert [(one.name, one.reason) for one in outcome.adjustments] == [
            ("thinking.display", "thinking is always shown")
        ]

    def test_a_budget_that_is_clamped_does_not_hide_what_is_dropped(self) -> None:
        thinking = {"type": "enabled", "budget_tokens": 31_999, "display": "omitted", "surprise": 1}
        outcome = adjusted(max_tokens=32_000, thinking=thinking)
        assert [(one.name, one.action) for one in outcome.adjustments] == [
            ("max_tokens", "clamp"),
            ("thinking", "clamp"),
            ("thinking.display", "drop"),
            ("thinking.surprise", "drop"),
        ]


class TestOutput:
    def test_both_names_of_a_format_reach_the_engine_as_one(self) -> None:
        form = {"type": "json_schema", "schema": {"type": "object"}}
        both: tuple[dict[str, Any], ...] = ({"output_config": {"format": form}}, {"output_format": form})
        for fields in both:
            outcome = adjusted(**fields)
            assert [schema for _, schema in outcome.schemas] == [form["schema"]]
            body = orjson.loads(MESSAGES.engine_body(outcome.engine, "m"))
            assert body["output_config"]["format"] == form
            assert "output_format" not in body

    def test_an_effort_that_the_template_does_not_read_is_dropped(self) -> None:
        outcome = adjusted(output_config={"effort": "max"}, profile=replace(PROFILE, lacks={"reasoning_effort": "no"}))
        assert names(outcome) == ["output_config.effort"]


def test_counting_takes_what_a_prompt_is_made_of() -> None:
    prompt = {name for name, row in COUNT_TOKENS.table.by_name.items() if row.treatment != "refuse"}
    assert {"messages", "system", "tools", "tool_choice", "thinking"} < prompt
    assert not {"max_tokens", "temperature", "stream"} & prompt
