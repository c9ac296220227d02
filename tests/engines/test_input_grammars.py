"""Grammars of custom tools' inputs in vLLM 0.32: what llguidance accepts by them, alone and within calls."""

import argparse
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from app.parameters.grammar_text import escaped_lark_text, lark_text
from app.parameters.grammar_tree import Grammar
from app.parameters.lark_grammars import lark_grammar
from contract.custom_tools import CALLED_INPUT_FORMATS, INPUT_GRAMMAR, INPUT_GRAMMARS
from contract.project import PROJECT_FOLDER
from deployments.vllm.internals import lark_grammars
from deployments.vllm.internals.input_grammars import hold_input_grammars, lacks_of
from deployments.vllm.structural_tags import has_lark, is_lark, llguidance_grammar
from tests.sample_grammars import IS_PATCH, PAIRS, PATCH, PATCHES, is_of

VOCABULARY = 384
CASES = (
    (PATCHES, (PATCH, PATCH[:-1], PATCH.replace("@@", "@"), PATCH + "\n", "*** Begin Patch\n*** End Patch\n")),
    (PAIRS, ('xy="a\\"",é=(2);\n!', "x=((0));\né=3,!\n", "x=0,!", "wx=0,y=1,!", 'x="\\b",y=((1),!', "x=1;y=1;!")),
)
HOLDING = ("hermes", "qwen_3", "llama", "longcat", "deepseek_v3_1", "kimi")
AMBIGUOUS = 'start: start start start | start start | "a"'


@pytest.fixture(scope="module")
def backend() -> Any:
    """What a backend of vLLM's has of its engine."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(PROJECT_FOLDER / "local_models" / "pocket-chat")
    return SimpleNamespace(tokenizer=tokenizer, vocab_size=VOCABULARY)


def is_accepted(backend: Any, grammar: str, text: str) -> bool:
    """Whether `text` is a whole answer by a grammar."""
    held = lark_grammars._held(backend, grammar)
    tokens = backend.tokenizer.encode(text, add_special_tokens=False)
    matcher = held.ll_matcher
    return all(not matcher.is_stopped() and held.accept_tokens("", [one]) for one in tokens) and matcher.is_accepting()


@pytest.mark.parametrize(("definition", "texts"), CASES, ids=["patches", "pairs"])
def test_what_is_accepted_is_what_lark_reads(backend: Any, definition: str, texts: tuple[str, ...]) -> None:
    grammar = lark_grammar(definition)
    right = [text for text in texts if (IS_PATCH.fullmatch(text) if definition == PATCHES else is_of(definition, text))]
    assert 0 < len(right) < len(texts)
    assert [text for text in texts if is_accepted(backend, lark_text(grammar), text)] == right
    inside = {text: json.dumps(text, ensure_ascii=False)[1:-1] for text in texts}
    assert [text for text in texts if is_accepted(backend, escaped_lark_text(grammar), inside[text])] == right


def test_within_json_a_character_may_be_any_terminal(backend: Any) -> None:
    """As outside, where the longest terminal is read first, one that ends is not kept from ending."""
    grammar = lark_grammar('start: (/[a-z]/ | "abc")+ A B\nA: "d"+\nB: "\\n"\n%ignore " "')
    for text in ("abxabcd\\n", " a b dd \\n "):
        assert is_accepted(backend, escaped_lark_text(grammar), text)
    for text in ("abxabc\\n", "d\\n"):
        assert not is_accepted(backend, escaped_lark_text(grammar), text)


PARAMETERS = {"type": "object", "properties": {"a": {"enum": [1]}, "b": {"anyOf": [{"type": "string"}]}}}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in ("apply_patch", "ring")]


def tag_of(model: str, choice: str, tools: list[dict[str, Any]] = TOOLS) -> dict[str, Any]:
    """What vLLM has guide a request whose first tool has a grammar."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers.abstract_tool_parser import ToolParser
    from vllm.tool_parsers.tool_strict_level import ToolStrictLevel

    class Parser(ToolParser):
        structural_tag_model = model

    hold_input_grammars()
    grammars = {"apply_patch": escaped_lark_text(lark_grammar(PATCHES))}
    asked = {"messages": [], "tools": tools, "tool_choice": choice, INPUT_GRAMMARS: grammars}
    request = ChatCompletionRequest.model_validate(asked)
    tag = Parser(None).get_structural_tag(request, strict_level=ToolStrictLevel.PARAMETER)
    found: dict[str, Any] = tag.model_dump()
    return found


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_call_holds_the_grammar_of_its_tool(backend: Any, choice: str) -> None:
    grammar = llguidance_grammar(tag_of("hermes", choice))
    assert "apply_patch" in grammar

    def call(name: str, arguments: Any) -> str:
        said = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
        return f"<tool_call>\n{said}\n</tool_call>"

    patching = call("apply_patch", {"input": PATCH})
    for text in (patching, call("ring", {"a": 1}) + patching):
        assert is_accepted(backend, grammar, text)
    for text in (
        call("apply_patch", {"input": "*** Begin"}), call("apply_patch", {"a": 1}), call("ring", {"input": PATCH}),
        call("ring", {"a": 2}), call("sing", {}), patching + "<tool_call>\n",
    ):  # fmt: skip
        assert not is_accepted(backend, grammar, text)
    for text in ("", "No.", f"Well.\n{patching} Done."):
        assert is_accepted(backend, grammar, text) == (choice == "auto")


@pytest.mark.parametrize("model", HOLDING)
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_formats_of_calls_that_are_json_hold_grammars(backend: Any, model: str, choice: str) -> None:
    tag = tag_of(model, choice)
    assert has_lark(tag)
    lark_grammars._held(backend, llguidance_grammar(tag))


def test_a_grammar_that_an_engine_has_no_place_for_is_named(backend: Any) -> None:
    def lacking(
        parser: str | None,
        backend_name: str = "xgrammar",
        level: str = "parameter",
        *,
        words: int = VOCABULARY // 32,
        tokenizer: Any = backend.tokenizer,
    ) -> set[str]:
        model = SimpleNamespace(get_vocab_size=lambda: 32 * words)
        engine = SimpleNamespace(get_tokenizer=lambda: tokenizer, model_config=model)
        asked = SimpleNamespace(backend=backend_name)
        arguments = argparse.Namespace(
            tool_call_parser=parser, tool_strict_level=level, structured_outputs_config=asked
        )
        return set(lacks_of(engine, arguments))

    lark_grammars.hold_lark_grammars()
    hold_input_grammars()
    assert lacking("hermes") == lacking("hermes", "auto") == set()
    assert lacking("pythonic") == lacking(None) == lacking("hermes", level="auto") == {CALLED_INPUT_FORMATS}
    assert lacking("hermes", "outlines") == {CALLED_INPUT_FORMATS, INPUT_GRAMMAR}
    # The model has fewer logits than the tokenizer has tokens; the tokenizer is none that llguidance reads.
    assert lacking("hermes", words=1) == lacking("hermes", tokenizer=object()) == {CALLED_INPUT_FORMATS, INPUT_GRAMMAR}


def test_a_tokenizer_with_more_tokens_than_the_model_fails_the_request_alone(backend: Any) -> None:
    """Its masks of tokens would not fit the engine's."""
    small = SimpleNamespace(tokenizer=backend.tokenizer, vocab_size=32)
    with pytest.raises(ValueError, match="another vocabulary"):
        lark_grammars._held(small, 'start: "a"')


def test_a_mask_that_cannot_be_filled_fails_its_request_alone(backend: Any) -> None:
    held = lark_grammars._held(backend, "start: /a*/")
    mask = torch.zeros((1, 1), dtype=torch.int32)
    held.fill_bitmask(mask, 0)
    assert mask.tolist() == [[-1]]
    assert not held.accept_tokens("", backend.tokenizer.encode("a", add_special_tokens=False))


def test_a_panic_of_the_engine_s_library_is_a_grammar_that_cannot_be_used(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Panic(BaseException):
        """As PyO3's."""

    def panic(*_: Any, **__: Any) -> None:
        raise Panic

    monkeypatch.setattr("llguidance.LLMatcher", panic)
    with pytest.raises(ValueError, match="llguidance failed"):
        lark_grammars._held(backend, 'start: "a"')


def test_what_llguidance_says_of_a_grammar_is_short(backend: Any) -> None:
    with pytest.raises(ValueError, match=r"^.{1,500}$"):
        lark_grammars._held(backend, "start: /" + "(" * 2000 + "/")


def test_a_draft_that_is_refused_leaves_the_matcher_where_it_was(backend: Any) -> None:
    """The engine takes back the drafts that were accepted, and gives them no time of their own."""
    held = lark_grammars._held(backend, 'start: "abc"')
    a, b, c = backend.tokenizer.encode("abc", add_special_tokens=False)
    assert held.accept_tokens("", [a])
    assert held.accept_tokens("", [b])
    held.spent = 60.0
    assert not held.accept_tokens("", [c])
    held.rollback(1)
    held.spent = 0.0
    assert held.accepted == 1
    assert held.accept_tokens("", [b])
    assert held.accept_tokens("", [c])


def test_what_is_ignored_may_begin_a_text(backend: Any) -> None:
    grammar = lark_grammar('start: "a" /b+/\n%ignore " "')
    for text in (" a b", "a  bb", "ab"):
        assert is_accepted(backend, lark_text(grammar), text)


@pytest.mark.parametrize("write", [lark_text, escaped_lark_text])
@pytest.mark.parametrize(
    "definition",
    [
        "start: " + "(" * 32 + '"a" "b" | "c"' + ")*" * 32,
        "start: /" + "(x" * 32 + "a" + "|b)*" * 32 + "/",
        'start: T\nT: ' + "(" * 30 + 'A "x" | "y"' + ")*" * 30 + "\nA: /a+/",
        'start: "(" ":" "::=" ")"',
        'start: "a" | ""i | T /x{0}/\nT: ""\n%ignore ""\n%ignore " "',
        # As deep as is legal, over all rules.
        "".join(f"{name}: [[[r{n}]]]\n" for n, name in enumerate(["start", *(f"r{n}" for n in range(200))]))
        + 'r200: "a"',
    ],
    ids=["repeated", "expression", "terminal", "marks", "empty", "rules"],
)  # fmt: skip
def test_what_the_gateway_takes_llguidance_reads(
    backend: Any, write: Callable[[Grammar], str], definition: str
) -> None:
    text = write(lark_grammar(definition))
    assert is_lark(text)
    lark_grammars._check(text)
    lark_grammars._held(backend, text)


# What a client's schema may have in it: what stands for grammars in structural tags.
SCHEMAS: tuple[dict[str, Any], ...] = (
    {"properties": {"k": {"const": {"type": "grammar"}}}},
    {"properties": {"k": {"const": {"type": "grammar", "grammar": 5}}}},
    {"properties": {"k": {"const": {"type": "grammar", "grammar": "start: /x/"}}}},
    {"x-portico-input-of": "apply_patch"},
    {"x-portico-input-of": []},
)


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_a_client_s_schema_is_no_grammar(schema: dict[str, Any]) -> None:
    content = {"type": "json_schema", "json_schema": {"type": "object"} | schema}
    tags = [{"type": "tag", "begin": "<tool_call>", "content": content, "end": "</tool_call>"}]
    assert not has_lark({"format": {"type": "triggered_tags", "triggers": ["<tool_call>"], "tags": tags}})
    ring = {"type": "function", "function": {"name": "ring", "parameters": {"type": "object"} | schema}}
    grammar = json.dumps(escaped_lark_text(lark_grammar(PATCHES)))
    tag, plain = (json.dumps(tag_of("hermes", "auto", [TOOLS[0], other])) for other in (ring, TOOLS[1]))
    assert tag.count(grammar) == plain.count(grammar) > 0
    assert json.dumps(schema)[1:-1] in tag


def test_a_grammar_that_takes_too_long_fails_its_request(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held = lark_grammars._held(backend, lark_text(lark_grammar(AMBIGUOUS)))
    (token,) = backend.tokenizer.encode("a", add_special_tokens=False)
    mask = torch.zeros((1, VOCABULARY // 32), dtype=torch.int32)
    accepted = 0
    while held.accept_tokens("", [token]):
        held.fill_bitmask(mask, 0)
        accepted += 1
        assert accepted < 2000
    assert held.spent < 3 + lark_grammars.MAX_SECONDS_EACH * accepted


def test_a_grammar_past_the_limit_of_one_token_fails_its_request(backend: Any) -> None:
    """llguidance itself would let the answer end there."""
    laughing = "start: a0\n" + "\n".join(f"a{n}: a{n + 1} a{n + 1}" for n in range(60)) + '\na60: "a"'
    held = lark_grammars._held(backend, lark_text(lark_grammar(laughing)))
    mask = torch.zeros((1, VOCABULARY // 32), dtype=torch.int32)
    held.fill_bitmask(mask, 0)
    assert not held.accept_tokens("", [backend.tokenizer.eos_token_id])
