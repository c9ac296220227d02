"""Custom tools of chat completions and of responses, whose input is a text: what is legal, and what the engine gets."""

import json
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from app.endpoints.chat import CHAT
from app.endpoints.input_tokens import INPUT_TOKENS
from app.endpoints.responses import RESPONSES
from app.endpoints.tokenize import TOKENIZE
from app.parameters.adjust import adjust
from app.parameters.patterns import PatternFault
from app.parameters.plain_regexes import plain_regex
from contract.adjustments import Adjustment
from contract.custom_tools import INPUT_GRAMMARS, CustomCalls
from contract.errors import ApiError
from contract.protocol import ResponseHead
from tests.unit.conftest import client_of
from tests.unit.sample_requests import ABLE

ROUTES = pytest.mark.parametrize("endpoint", [CHAT, RESPONSES], ids=["chat", "responses"])
TEXT = {"type": "text"}
DATE = {"type": "grammar", "syntax": "regex", "definition": r"^\d{4}-.$"}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Edit files."}
FUNCTION = {"type": "function", "name": "ring"}
NAMED = {"type": "custom", "name": "apply_patch"}
ALLOWED = {"type": "allowed_tools", "mode": "auto", "tools": [NAMED]}
LINES = {"type": "grammar", "syntax": "lark", "definition": 'start: /[a-c"]/+ LF\n%import common.LF\n'}
DOTS = f"start: /{'.' * 50}/"
# Each set has the escapes of all control characters in JSON.
WIDE = "start: " + "".join(f"/[^{chr(0x4E00 + 2 * n)}]/" for n in range(1000))
WANTED = "The input matches this regular expression: " + DATE["definition"]


def nested(value: Any) -> Any:
    """A tool, a format or a choice of responses as chat completions have it."""
    if isinstance(value, list):
        return list(map(nested, value))
    if not isinstance(value, dict):
        return value
    kind, inner = value.get("type"), {name: nested(one) for name, one in value.items() if name != "type"}
    return {"type": kind, kind: inner} if kind in ("custom", "function", "allowed_tools", "grammar") else value


def request(endpoint: Any, **fields: Any) -> dict[str, Any]:
    """A request of either route; `fields` are as in responses."""
    asked = {"tools": [PATCH, FUNCTION]} | fields
    if endpoint is CHAT:
        asked = {name: nested(value) for name, value in asked.items()}
    return endpoint.example | asked


def place(endpoint: Any, flat: str) -> str:
    """Where a chat completion has what a response has at `flat`."""
    if endpoint is RESPONSES:
        return flat
    path = re.sub(r"^(tools\.\d+)\.(?!type)", r"\1.custom.", flat)
    path = re.sub(r"format\.(syntax|definition)", r"format.grammar.\1", path)
    return re.sub(r"^tool_choice\.", "tool_choice.allowed_tools.", path)


def sent(endpoint: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """What the engine gets."""
    adjusted = adjust(endpoint.table, asked, ABLE)
    assert adjusted.adjustments == ()
    body: dict[str, Any] = json.loads(endpoint.engine_body(adjusted.engine, "m"))
    return body


@ROUTES
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": [PATCH | {"format": TEXT}]},
        {"tools": [PATCH | {"format": None, "description": None}]},
        {"tool_choice": NAMED},
        {"tool_choice": {"type": "function", "name": "ring"}},
        {"tool_choice": ALLOWED},
        {"tool_choice": ALLOWED | {"mode": "required"}},
        {"tools": [PATCH | {"format": DATE}], "tool_choice": NAMED},
        {"tools": [PATCH | {"format": DATE}], "tool_choice": "required"},
        {"tools": [PATCH | {"format": DATE}, FUNCTION], "tool_choice": ALLOWED | {"mode": "required"}},
        {"tools": [PATCH | {"format": LINES}], "tool_choice": NAMED},
        {"tools": [PATCH | {"format": DATE}]},
        {"tools": [FUNCTION, PATCH | {"format": LINES}], "tool_choice": "required"},
        {"tools": [PATCH | {"format": DATE}], "tool_choice": ALLOWED},
        # The tool with the grammar cannot be called.
        {"tools": [PATCH | {"format": DATE}, FUNCTION], "tool_choice": "none"},
        {"tools": [PATCH | {"format": DATE}, FUNCTION], "tool_choice": {"type": "function", "name": "ring"}},
        {"tools": [PATCH, FUNCTION | {"name": "x"}, NAMED | {"name": "date", "format": DATE}], "tool_choice": ALLOWED},
    ],
)
def test_they_are_legal(endpoint: Any, fields: dict[str, Any]) -> None:
    sent(endpoint, request(endpoint, **fields))


@ROUTES
@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"tools": [PATCH | {"format": LINES | {"definition": "start: line"}}]}, "invalid_value",
         "tools.0.format.definition"),
        ({"tools": [PATCH | {"format": DATE | {"syntax": "gbnf"}}]}, "invalid_value", "tools.0.format.syntax"),
        ({"tools": [PATCH | {"format": DATE | {"definition": 1}}]}, "invalid_type", "tools.0.format.definition"),
        ({"tools": [PATCH | {"format": DATE | {"definition": "(?=a)"}}]}, "invalid_value", "tools.0.format.definition"),
        ({"tools": [PATCH | {"format": {"type": "xml"}}]}, "invalid_value", "tools.0.format.type"),
        ({"tools": [PATCH | {"format": "text"}]}, "invalid_type", "tools.0.format"),
        ({"tools": [PATCH | {"name": "a b"}]}, "invalid_value", "tools.0.name"),
        ({"tools": [PATCH | {"description": 1}]}, "invalid_type", "tools.0.description"),
        ({"tools": [PATCH, FUNCTION | {"name": "apply_patch"}]}, "invalid_value", "tools"),
        ({"tools": [{"type": "code_interpreter"}]}, "unsupported_parameter", "tools.0"),
        ({"tools": [{"type": "other"}]}, "invalid_value", "tools.0.type"),
        ({"tool_choice": {"type": "custom", "name": "ring"}}, "invalid_value", "tool_choice"),
        ({"tool_choice": ALLOWED | {"tools": [NAMED | {"name": "x"}]}}, "invalid_value", "tool_choice"),
        ({"tool_choice": ALLOWED | {"tools": []}}, "invalid_value", "tool_choice.tools"),
        ({"tool_choice": ALLOWED | {"mode": "none"}}, "invalid_value", "tool_choice.mode"),
        # All grammars together.
        ({"tools": [PATCH | {"name": f"t{n}", "format": DATE | {"definition": "a" * 1024}} for n in range(9)],
          "tool_choice": "none"}, "too_large", "tools.8.format"),
        ({"tools": [PATCH | {"name": f"t{n}", "format": LINES | {"definition": DOTS}} for n in range(120)],
          "tool_choice": "none"}, "too_large", "tools.56.format"),
        ({"tools": [PATCH | {"format": LINES | {"definition": WIDE}}]}, "invalid_value", "tools.0.format.definition"),
    ],
)  # fmt: skip
def test_what_is_none_is_a_400(endpoint: Any, fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        sent(endpoint, request(endpoint, **fields))
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, place(endpoint, param))


def test_chat_sends_a_function_with_one_text_for_each() -> None:
    body = sent(CHAT, request(CHAT, tool_choice=NAMED))
    custom, function = body["tools"]
    assert (custom["type"], custom["function"]["name"]) == ("function", "apply_patch")
    assert custom["function"]["description"] == "Edit files."
    assert list(custom["function"]["parameters"]["properties"]) == custom["function"]["parameters"]["required"]
    assert custom["function"]["parameters"]["properties"]["input"]["type"] == "string"
    assert function == nested(FUNCTION)
    assert body["tool_choice"] == {"type": "function", "function": {"name": "apply_patch"}}


@pytest.mark.parametrize("endpoint", [CHAT, TOKENIZE], ids=["chat", "tokenize"])
def test_calls_and_results_go_back_to_the_engine_as_those_of_functions(endpoint: Any) -> None:
    call = {"id": "1", "type": "custom", "custom": {"name": "apply_patch", "input": 'say "hi"\n'}}
    other = {"id": "2", "type": "function", "function": {"name": "ring", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, "tool_calls": [call, other]}
    results = [{"role": "tool", "tool_call_id": number, "content": "Done."} for number in "12"]
    asked = {"messages": [{"role": "user", "content": "Hi"}, said, *results], "tools": nested([PATCH, FUNCTION])}
    messages = sent(endpoint, asked)["messages"]
    made, kept = messages[1]["tool_calls"]
    assert (made["id"], made["type"], made["function"]["name"], kept) == ("1", "function", "apply_patch", other)
    assert json.loads(made["function"]["arguments"]) == {"input": 'say "hi"\n'}
    assert messages[2:] == results


@pytest.mark.parametrize(
    ("call", "param"),
    [
        ({"id": "1"}, "messages.0.tool_calls.0.custom"),
        ({"id": "1", "custom": {"name": "a"}}, "messages.0.tool_calls.0.custom.input"),
        ({"custom": {"name": "a", "input": ""}}, "messages.0.tool_calls.0.id"),
    ],
)
def test_a_call_that_lacks_something_is_a_400(call: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        sent(CHAT, {"messages": [{"role": "assistant", "tool_calls": [{"type": "custom"} | call]}]})
    assert (caught.value.code, caught.value.param) == ("invalid_type", param)


def test_items_of_responses_pass_unchanged() -> None:
    call = {"type": "custom_tool_call", "call_id": "1", "name": "apply_patch", "input": "*** Begin"}
    items = [{"role": "user", "content": "Hi"}, call]
    items.append({"type": "custom_tool_call_output", "call_id": "1", "output": "Done."})
    body = sent(RESPONSES, request(RESPONSES) | {"input": items})
    assert (body["input"], body["tools"]) == (items, [PATCH, FUNCTION])


@pytest.mark.parametrize(
    ("items", "code", "param"),
    [
        ([{"type": "custom_tool_call_output", "call_id": "1", "output": ""}], "invalid_value", "input.0.call_id"),
        ([{"type": "custom_tool_call", "call_id": "1", "name": "a"}], "missing_required_parameter", "input.0.input"),
    ],
)
def test_an_item_that_lacks_something_is_a_400(items: list[Any], code: str, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        sent(RESPONSES, {"input": items})
    assert (caught.value.code, caught.value.param) == (code, param)


@ROUTES
def test_of_allowed_tools_the_engine_gets_no_others(endpoint: Any) -> None:
    body = sent(endpoint, request(endpoint, tool_choice=ALLOWED))
    assert body["tool_choice"] == "auto"
    (tool,) = body["tools"]
    assert tool.get("function", tool)["name"] == "apply_patch"


@ROUTES
@pytest.mark.parametrize("choice", [NAMED, ALLOWED | {"mode": "required"}], ids=["named", "the only allowed"])
def test_a_forced_tool_s_regex_guides_the_whole_text(endpoint: Any, choice: Any) -> None:
    tools = [PATCH | {"format": DATE}, FUNCTION]
    schema = {"name": "a", "schema": {"type": "object"}}
    if endpoint is CHAT:
        text: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": schema}}
    else:
        text = {"text": {"verbosity": "low", "format": {"type": "json_schema"} | schema}}
    body = sent(endpoint, request(endpoint, tools=tools, tool_choice=choice) | text)
    assert (body["structured_outputs"], body["tool_choice"]) == ({"regex": r"[0-9]{4}-[^\n]"}, "none")
    tool = body["tools"][0].get("function", body["tools"][0])
    assert (tool["description"], "format" in tool) == (f"Edit files.\n{WANTED}", False)  # the model reads it
    assert "response_format" not in body  # the call stands in the text's place
    assert "format" not in body.get("text", {})


@ROUTES
def test_a_forced_tool_s_lark_grammar_guides_the_whole_text(endpoint: Any) -> None:
    body = sent(endpoint, request(endpoint, tools=[PATCH | {"format": LINES}, FUNCTION], tool_choice=NAMED))
    (kind,) = body["structured_outputs"]
    assert (kind, body["tool_choice"], INPUT_GRAMMARS in body) == ("grammar", "none", False)
    assert "%import" not in body["structured_outputs"]["grammar"]  # the engine looks nothing up
    tool = body["tools"][0].get("function", body["tools"][0])
    assert tool["description"] == f"Edit files.\nThe input matches this grammar of Lark: {LINES['definition']}"


@ROUTES
@pytest.mark.parametrize("choice", ["auto", "required", ALLOWED], ids=["auto", "required", "allowed"])
def test_a_grammar_guides_the_input_where_the_model_may_call_others(endpoint: Any, choice: Any) -> None:
    tools = [PATCH | {"format": LINES}, FUNCTION, NAMED | {"name": "date", "format": DATE}]
    body = sent(endpoint, request(endpoint, tools=tools, tool_choice=choice))
    assert ("structured_outputs" in body, list(body[INPUT_GRAMMARS])) == (
        False,
        ["apply_patch"] if choice == ALLOWED else ["apply_patch", "date"],
    )
    assert r"\x{5c}\x{22}" in body[INPUT_GRAMMARS]["apply_patch"]  # a quotation mark as JSON has it
    first = body["tools"][0].get("function", body["tools"][0])
    assert ("format" in first, "grammar of Lark" in first["description"]) == (False, True)


@ROUTES
def test_only_tools_with_a_grammar_have_one_for_the_engine(endpoint: Any) -> None:
    assert INPUT_GRAMMARS not in sent(endpoint, request(endpoint))
    date = NAMED | {"name": "date", "format": DATE}
    assert INPUT_GRAMMARS not in sent(endpoint, request(endpoint, tools=[PATCH, date], tool_choice="none"))
    assert INPUT_GRAMMARS not in sent(endpoint, request(endpoint, tools=[PATCH, date], tool_choice=NAMED))


@ROUTES
@pytest.mark.parametrize(
    ("feature", "choice", "is_kept"),
    [
        ("called_input_formats", "auto", False),
        ("called_input_formats", "required", False),
        ("called_input_formats", NAMED, True),
        ("called_input_formats", "none", True),
        ("input_grammar", NAMED, False),
    ],
)
def test_a_grammar_that_the_engine_cannot_keep_becomes_words(
    endpoint: Any, feature: str, choice: Any, is_kept: bool
) -> None:
    asked = request(endpoint, tools=[FUNCTION, PATCH | {"format": LINES}], tool_choice=choice)
    model = replace(ABLE, lacks={feature: "it holds none"})
    adjusted = adjust(endpoint.table, asked, model)
    body = json.loads(endpoint.engine_body(adjusted.engine, "m"))
    tool = body["tools"][1].get("function", body["tools"][1])
    assert tool["description"].endswith(LINES["definition"])
    if is_kept:
        assert adjusted.adjustments == ()
        return
    assert {INPUT_GRAMMARS, "structured_outputs"}.isdisjoint(body)
    dropped = place(endpoint, "tools.1.format")
    assert adjusted.adjustments == (Adjustment(dropped, "drop", reason="it holds none"),)
    with pytest.raises(ApiError) as caught:
        adjust(endpoint.table, asked | {"strict_params": True}, model)
    assert caught.value.param == dropped


def test_the_input_of_a_response_is_counted_as_it_would_be_sent() -> None:
    asked = request(RESPONSES, tools=[PATCH | {"format": DATE}], tool_choice=NAMED)
    assert sent(INPUT_TOKENS, asked)["tools"] == sent(RESPONSES, asked)["tools"]
    for choice in (NAMED, "auto"):  # nothing is generated, so nothing guides it
        asked |= {"tool_choice": choice}
        assert {INPUT_GRAMMARS, "structured_outputs"}.isdisjoint(sent(INPUT_TOKENS, asked))


@pytest.fixture
async def client(make_gateway: Any, registry: Any) -> Any:
    registry.learn("alpha", ABLE)
    async with client_of(make_gateway()) as client:
        yield client


FORCED = {"tools": [PATCH | {"format": DATE}], "tool_choice": NAMED}
SHOWN = FUNCTION | {"description": None, "parameters": None, "strict": None}


@pytest.mark.parametrize(
    ("endpoint", "fields", "calls"),
    [
        (CHAT, {"tools": [FUNCTION]}, None),
        (CHAT, {}, CustomCalls(("apply_patch",))),
        (CHAT, FORCED, CustomCalls(("apply_patch",), "apply_patch")),
        (RESPONSES, {}, None),  # the engine has such calls
        (RESPONSES, FORCED, CustomCalls(answer="apply_patch", request=FORCED)),
        (RESPONSES, {"tool_choice": ALLOWED},
         CustomCalls(request={"tools": [PATCH, SHOWN], "tool_choice": ALLOWED})),
    ],
)  # fmt: skip
async def test_the_replica_learns_how_the_calls_come_back(
    client: httpx.AsyncClient, relay: Any, endpoint: Any, fields: dict[str, Any], calls: CustomCalls | None
) -> None:
    relay.items = [ResponseHead(200, body=b"{}")]
    await client.post(endpoint.path, json={"model": "alpha"} | request(endpoint, **fields))
    assert relay.sent[-1][1].custom_calls == calls


@pytest.mark.parametrize(
    ("pattern", "plain"),
    [
        (r"^\d{4}-\D{2}$", r"[0-9]{4}-[^0-9]{2}"),
        (r"a.c", r"a[^\n]c"),
        (r"(a|b)+?", r"(?:a|b)+"),
        (r"\$5\\$", r"\$5\\"),
        (r"5\$", r"5\$"),
        ("[^\n\t]", r"[^\n\t]"),
        (r"[^\w.\-]{1,3}", r"[^a-zA-Z0-9_.\-]{1,3}"),
        (r"\<\.\>", r"<\.>"),
    ],
)
def test_a_regex_is_written_as_every_engine_reads_it(pattern: str, plain: str) -> None:
    assert plain_regex(pattern) == plain


@pytest.mark.parametrize(
    "pattern",
    [
        "", "^$", "(", "a)", "*a", "a**", "a{2,1}", "a{,2}", "a{१}", "{", "[]", "[z-a]", r"[\d-z]", r"[\D]", r"[\^a]",
        "[a&&b]", "[[:alpha:]]", "a^b", "a$b", "(?=a)", "(?<!a)b", "(?i)a", "(?P<x>a)", r"\bab", r"(a)\1", r"\p{L}",
        r"\x41", "a\0", "a" * 1025, "((a{99}){99}){99}", "(" * 40 + "a" + ")" * 40,
    ],
)  # fmt: skip
def test_a_regex_that_engines_read_differently_or_that_is_large_is_none(pattern: str) -> None:
    with pytest.raises(PatternFault):
        plain_regex(pattern)
