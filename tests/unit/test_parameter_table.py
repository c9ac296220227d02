"""The parameter table, row by row: each row's own legal values, its bounds, its wrong types, its treatment."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.parameters.adjust import Adjusted, adjust
from app.parameters.adjustments import header_value
from app.parameters.generation import LogitBias
from app.parameters.kinds import Anything, Flag, Kind, Number
from app.parameters.row import Parameter, Table, Treatment
from contract.errors import ApiError
from contract.profile import Profile
from tests.unit.sample_requests import ABLE, BASE, BESIDE, ENDPOINT, LEGAL, TOOL, able, bounds, legal_values, request_of

CHAT = ENDPOINT["chat"].table
ROWS = [(name, row) for name, endpoint in ENDPOINT.items() for row in endpoint.table.rows]
READ = [(name, row) for name, row in ROWS if row.treatment in (Treatment.FORWARD, Treatment.GATEWAY, Treatment.ACCEPT)]
NUMBERS = [(name, row) for name, row in READ if isinstance(row.kind, Number)]
TYPED = [(name, row) for name, row in READ if not isinstance(row.kind, Anything)]


def row_id(value: Any) -> str:
    return value.name if isinstance(value, Parameter) else str(value)


def adjusted(table: str, **fields: Any) -> Adjusted:
    return adjust(ENDPOINT[table].table, request_of(table, **fields), able(table))


def result(outcome: Adjusted, name: str) -> Any:
    return legal(outcome).get(name)


def legal(outcome: Adjusted) -> dict[str, Any]:
    return outcome.engine | outcome.gateway | outcome.accepted


@pytest.mark.parametrize(("table", "row"), READ, ids=row_id)
def test_a_legal_value_passes_unchanged(table: str, row: Parameter) -> None:
    values = LEGAL[table].get(row.name) or legal_values(row.kind)
    assert values or isinstance(row.kind, Anything), f"no legal value is known for {row.name}"
    for value in values:
        outcome = adjusted(table, **{row.name: value})
        assert result(outcome, row.name) == (None if value in row.absent else value)
        assert outcome.adjustments == ()


def test_a_bound_of_the_model_s_is_reported_as_its_number() -> None:
    with pytest.raises(ApiError, match="`n` must be an integer from 1 to 4"):
        adjusted("images", n="two")


@pytest.mark.parametrize(
    ("given", "place", "reported"),
    [
        ([5, -1], "input.1", "a token id: 0 or more"),
        ([-1], "input.0", "a token id: 0 or more"),
        ([[5, -1]], "input.0", "an array of token ids, each an integer that is 0 or more"),
        (["a", 1], "input.1", "of the same type as the first"),
        ([1, "a"], "input.1", "of the same type as the first"),
        ([True], "input.0", "a string, a token id, or an array of token ids"),
        ([[1, [2]]], "input.0", "an array of token ids, each an integer that is 0 or more"),
    ],
)
def test_what_cannot_be_embedded_is_reported_by_its_place(given: Any, place: str, reported: str) -> None:
    with pytest.raises(ApiError) as caught:
        adjusted("embeddings", input=given)
    assert (caught.value.param, caught.value.message) == (place, f"`{place}` must be {reported}.")


@pytest.mark.parametrize(("table", "row"), NUMBERS, ids=row_id)
@pytest.mark.parametrize("side", ["below", "above"])
def test_a_number_beyond_its_range_becomes_the_nearest_legal_one_and_is_reported(
    table: str, row: Parameter, side: str
) -> None:
    low, high = bounds(row.kind)  # type: ignore[arg-type]
    nearest = low if side == "below" else high
    if nearest is None:
        return
    for beyond in (nearest - 1, nearest - 1e18) if side == "below" else (nearest + 1, nearest + 1e18):
        outcome = adjusted(table, **{row.name: beyond})
        assert result(outcome, row.name) == nearest
        (adjustment,) = outcome.adjustments
        assert (adjustment.name, adjustment.action) == (row.name, "clamp")
        assert (adjustment.before, adjustment.after) == (beyond, nearest)


@pytest.mark.parametrize(("table", "row"), TYPED, ids=row_id)
def test_a_wrong_type_is_a_400_that_names_the_parameter(table: str, row: Parameter) -> None:
    values: tuple[Any, ...] = ("no", 1.5, True, [[]], {"no": []})
    wrong = [value for value in values if not fits(row.kind, value)]
    assert wrong
    for value in wrong:
        with pytest.raises(ApiError) as caught:
            adjusted(table, **{row.name: value})
        assert caught.value.status in (400, 422)
        assert (caught.value.param or "").split(".")[0] == row.name


def fits(kind: Kind, value: Any) -> bool:
    try:
        kind.read(value, "x", ABLE)
    except ApiError:
        return False
    return True


@pytest.mark.parametrize(("table", "row"), NUMBERS, ids=row_id)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_a_400(table: str, row: Parameter, value: float) -> None:
    with pytest.raises(ApiError) as caught:
        adjusted(table, **{row.name: value})
    assert caught.value.code == "invalid_type"


@pytest.mark.parametrize(("table", "row"), READ, ids=row_id)
def test_a_legal_parameter_is_where_its_treatment_says(table: str, row: Parameter) -> None:
    if isinstance(row.kind, Anything):
        return
    values = LEGAL[table].get(row.name) or legal_values(row.kind)
    value = next(value for value in values if value not in row.absent)
    outcome = adjusted(table, **{row.name: value})
    places = {
        Treatment.FORWARD: outcome.engine,
        Treatment.GATEWAY: outcome.gateway,
        Treatment.ACCEPT: outcome.accepted,
    }
    assert [treatment for treatment, place in places.items() if row.name in place] == [row.treatment]


@pytest.mark.parametrize(("table", "row"), ROWS, ids=row_id)
def test_a_row_is_treated_as_it_says(table: str, row: Parameter) -> None:
    if row.treatment is Treatment.REFUSE:
        with pytest.raises(ApiError) as caught:
            adjusted(table, **{row.name: {}})
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", row.name)
    elif row.treatment is Treatment.IGNORE:
        outcome = adjusted(table, **{row.name: object()}, strict_params=True)
        assert [(a.name, a.action) for a in outcome.adjustments] == [(row.name, "ignore")]
        assert row.name not in legal(outcome)
    if row.feature is not None:
        poor = replace(able(table), lacks={row.feature: "off here"})
        outcome = adjust(ENDPOINT[table].table, request_of(table, **{row.name: object()}), poor)
        assert [(a.name, a.action, a.reason) for a in outcome.adjustments] == [(row.name, "drop", "off here")]
    if row.engines:
        other = Profile("other", ABLE.capabilities, {}, ABLE.limits)
        outcome = adjust(ENDPOINT[table].table, request_of(table, **{row.name: object()}), other)
        assert [a.reason for a in outcome.adjustments] == ["not supported by other"]
    if row.capability is not None:
        base = replace(ABLE, capabilities=ABLE.capabilities - {row.capability})
        with pytest.raises(ApiError) as caught:
            adjust(ENDPOINT[table].table, ENDPOINT[table].example | {row.name: object()}, base)
        assert (caught.value.code, caught.value.param) == ("unsupported_capability", row.name)
        assert f"`{row.capability}`" in caught.value.message
    if row.required:
        request = request_of(table)
        del request[row.name]
        with pytest.raises(ApiError) as caught:
            adjust(ENDPOINT[table].table, request, ABLE)
        assert (caught.value.code, caught.value.param) == ("missing_required_parameter", row.name)


@pytest.mark.parametrize("table", dict(NUMBERS))
def test_strict_params_names_every_change_in_one_400(table: str) -> None:
    number = next(row for name, row in NUMBERS if name == table)
    _, high = bounds(number.kind)  # type: ignore[arg-type]
    assert high is not None
    request = request_of(table, surprise=1, **{number.name: high + 1}, strict_params=True)
    with pytest.raises(ApiError) as caught:
        adjust(ENDPOINT[table].table, request, ABLE)
    assert caught.value.status == 400
    assert caught.value.param == next(name for name in request if name in ("surprise", number.name))
    assert f"`{number.name}` would become {high:g}" in caught.value.message
    assert "`surprise` would be dropped (unknown parameter)" in caught.value.message


@pytest.mark.parametrize("table", ENDPOINT)
@pytest.mark.parametrize("name", ["runinfra", "runinfra_options", "RunInfra-x"])
def test_reserved_keys_are_refused(table: str, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        adjusted(table, **{name: 1})
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", name)


@pytest.mark.parametrize(
    ("table", "name", "value", "instead"),
    [
        ("chat", "guided_json", {"type": "object"}, "use `response_format` of type `json_schema`"),
        ("chat", "guided_choice", ["a", "b"], "an `enum` in the JSON schema of `response_format`"),
        ("chat", "structured_outputs", {"regex": "a"}, "use `response_format`"),
        ("chat", "continue_final_message", True, "ask the model to go on"),
        ("chat", "truncate_prompt_tokens", 9, "a prompt that is too long is an error"),
        ("responses", "guided_regex", "a", "a `pattern` in the JSON schema of `text.format`"),
        ("responses", "response_format", {"type": "json_object"}, "use `text.format`"),
        ("responses", "max_tokens", 9, "use `max_output_tokens`"),
        ("responses", "min_tokens", 9, "/v1/chat/completions has it"),
        ("completions", "messages", [], "send `prompt`"),
        ("completions", "max_completion_tokens", 9, "use `max_tokens`"),
        ("completions", "use_beam_search", True, "use `n` with a `temperature` over 0"),
        ("embeddings", "truncate_prompt_tokens", 9, "an input that is too long is an error"),
        ("messages", "stop", ["a"], "use `stop_sequences`"),
        ("messages", "response_format", {"type": "json_object"}, "use `output_config.format`"),
        ("messages", "seed", 1, "/v1/chat/completions has it"),
        ("messages", "mcp_servers", [{"type": "url"}], "send tools of your own"),
    ],
)
def test_what_would_change_the_answer_is_refused_and_what_to_use_is_named(
    table: str, name: str, value: Any, instead: str
) -> None:
    """Dropped with a 200, the answer would look like one that had heeded it."""
    with pytest.raises(ApiError) as caught:
        adjusted(table, **{name: value})
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", name)
    assert instead in caught.value.message


@pytest.mark.parametrize(
    ("table", "defaults"),
    [
        ("chat", {"add_generation_prompt": True, "continue_final_message": False, "use_beam_search": False,
                  "length_penalty": 1.0, "bad_words": [], "echo": False}),
        ("responses", {"n": 1}),
        ("embeddings", {"add_special_tokens": True, "embed_dtype": "float32"}),
    ],
)  # fmt: skip
def test_what_is_refused_may_say_what_is_so_anyhow(table: str, defaults: dict[str, Any]) -> None:
    outcome = adjusted(table, **defaults, strict_params=True)
    assert outcome.adjustments == ()
    assert not set(defaults) & set(legal(outcome))


@pytest.mark.parametrize("name", ["priority", "cache_salt", "kv_transfer_params", "request_id"])
def test_private_arguments_of_the_engine_are_dropped_and_listed(name: str) -> None:
    outcome = adjusted("chat", **{name: 1})
    assert name not in legal(outcome)
    assert [(a.name, a.action) for a in outcome.adjustments] == [(name, "drop")]


def test_adjustments_come_in_body_order() -> None:
    outcome = adjusted("chat", zebra=1, top_p=2, store=True, n=1000, apple=1)
    assert [a.name for a in outcome.adjustments] == ["zebra", "top_p", "store", "n", "apple"]


def test_unknown_fields_of_stream_options_are_dropped_and_listed() -> None:
    outcome = adjusted("chat", stream=True, stream_options={"include_usage": True, "a": 1, "b": 2})
    assert outcome.gateway["stream_options"] == {"include_usage": True}
    assert [a.name for a in outcome.adjustments] == ["stream_options.a", "stream_options.b"]


@pytest.mark.parametrize(
    ("name", "value", "kept", "listed"),
    [
        ("text", {"format": {"type": "text"}, "colour": 1}, {"format": {"type": "text"}}, "text.colour"),
        ("reasoning", {"effort": "low", "budget": 9}, {"effort": "low"}, "reasoning.budget"),
    ],
)
def test_unknown_fields_inside_never_reach_the_engine(name: str, value: Any, kept: Any, listed: str) -> None:
    outcome = adjusted("responses", **{name: value})
    assert outcome.engine[name] == kept
    assert [(a.name, a.reason) for a in outcome.adjustments] == [(listed, "unknown parameter")]


@pytest.mark.parametrize(
    ("name", "value"), [("text", {"colour": None}), ("reasoning", {"effort": "low", "budget": None})]
)
def test_an_unknown_field_inside_that_is_null_is_not_there(name: str, value: Any) -> None:
    outcome = adjusted("responses", **{name: value}, strict_params=True)
    assert outcome.engine[name] == {field: inner for field, inner in value.items() if inner is not None}
    assert outcome.adjustments == ()


@pytest.mark.parametrize(
    ("value", "code"), [(True, "unsupported_parameter"), ("yes", "invalid_type"), (1, "invalid_type")]
)
def test_a_translation_is_never_a_stream(value: Any, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        adjusted("translations", stream=value)
    assert (caught.value.code, caught.value.param) == (code, "stream")


def test_greedy_choices_are_one() -> None:
    outcome = adjusted("chat", n=1000, temperature=0)
    assert outcome.engine["n"] == 1
    assert [(a.before, a.after) for a in outcome.adjustments] == [(1000, 1)]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream_options": {}, "stream": False}, "stream_options"),
        ({"top_logprobs": 2, "logprobs": False}, "top_logprobs"),
        ({"tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tools": []}, "tools"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [{"type": "web_search_preview"}]}, "tools.0"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"logit_bias": {"384": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata"),
    ],
)
def test_what_cannot_be_made_legal_is_a_400(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        adjust(CHAT, {**BASE, **(BESIDE["tool_choice"] if "tool_choice" in fields else {}), **fields}, ABLE)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("requested", "made"),
    [("1000x1000", "1008x1008"), ("1x1", "16x16"), ("1000000x64", "2048x64"), ("63x65", "64x64")],
)
def test_a_size_becomes_the_nearest_that_the_model_can_make(requested: str, made: str) -> None:
    outcome = adjusted("images", size=requested)
    assert outcome.engine["size"] == made
    assert header_value(outcome.adjustments) == f'size;action=clamp;from="{requested}";to="{made}"'


@pytest.mark.parametrize("size", ["", "0x0", "64x0", "-1x64", "64", "big", "64x64x64", "1" * 30 + "x1"])
def test_what_is_no_size_is_a_400(size: str) -> None:
    with pytest.raises(ApiError) as caught:
        adjusted("images", size=size)
    assert (caught.value.status, caught.value.param) == (400, "size")


@pytest.mark.parametrize(
    ("requested", "read"), [("EN", "en"), ("English", "en"), ("de", "german"), ("german", "german")]
)
def test_a_language_is_read_as_the_model_calls_it(requested: str, read: str) -> None:
    assert adjusted("speech", language=requested).engine["language"] == read


def test_a_language_that_the_model_does_not_have_is_a_400_that_lists_those_it_has() -> None:
    with pytest.raises(ApiError, match="one of the model's languages: en, german") as caught:
        adjusted("speech", language="fr")
    assert (caught.value.status, caught.value.param) == (400, "language")


@pytest.mark.parametrize(
    "texts", ["", [], [""], ["a", ""], ["a", 1], [1, "a"], [[]], [["a"]], [1.5], [True], ["a"] * 2049, {}, 5]
)
def test_what_cannot_be_embedded_is_a_400(texts: Any) -> None:
    with pytest.raises(ApiError) as caught:
        adjusted("embeddings", input=texts)
    assert caught.value.status == 400
    assert (caught.value.param or "").startswith("input")


def test_a_bias_beyond_its_range_is_clamped() -> None:
    reading = LogitBias().read({"1": 500, "2": -3}, "logit_bias", ABLE)
    assert (reading.value, reading.clamped) == ({"1": 100, "2": -3}, (500, 100))


class TestProperties:
    json = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
        max_leaves=12,
    )

    @given(st.dictionaries(st.sampled_from(sorted(CHAT.by_name)) | st.text(max_size=12), json, max_size=8))
    @settings(max_examples=300, deadline=None)
    def test_any_request_is_made_legal_or_refused_and_a_second_time_changes_nothing(
        self, fields: dict[str, Any]
    ) -> None:
        request = {**BASE, **{name: value for name, value in fields.items() if value is not None}}
        try:
            once = adjust(CHAT, request, ABLE)
        except ApiError as error:
            assert error.status in (400, 422)  # noqa: PT017 - either outcome is right
            return
        again = adjust(CHAT, legal(once), ABLE)
        assert replace(again, adjustments=()) == replace(once, adjustments=())
        assert again.adjustments == ()
        for name, value in legal(once).items():
            kind = CHAT.by_name[name].kind
            if isinstance(kind, Number):
                low, high = bounds(kind)
                assert low is None or value >= low
                assert high is None or value <= high


def test_a_table_with_a_name_twice_is_a_fault() -> None:
    row = Parameter("a", Flag(), "x")
    with pytest.raises(ValueError, match="twice"):
        Table((row, row))
