"""Lark grammars of custom tools' inputs: what is read, what is refused and where, and what becomes of it."""

import re
import time
from collections.abc import Callable
from itertools import accumulate

import pytest

from app.parameters.grammar_text import escaped_lark_text, lark_text
from app.parameters.grammar_tree import Grammar
from app.parameters.lark_common import COMMON
from app.parameters.lark_grammars import lark_grammar
from app.parameters.lark_reader import GrammarFault
from tests.sample_grammars import PAIRS, PATCHES

HAN = "".join(chr(0x4E00 + 2 * n) for n in range(1000))  # no two of them next to each other


def chain(name: str, length: int, depth: int = 0) -> str:
    """Definitions of which each needs the next, within brackets."""
    inner = "\n".join(f"{name}{n}:{'[' * depth}{name}{n + 1}{']' * depth}" for n in range(length))
    return f"start: {name}0\n{inner}\n"


@pytest.mark.parametrize(
    ("definition", "rules"),
    [
        ('start: "a"', 'start: "a"'),
        ("start: a\na: \"b\" | /c/i -> d\n   | [\"e\"]", 'start: r1\nr1: ("b" | /[Cc]/ | ("e")?)'),
        ('?start.2: A ~ 2\n!A.-1: "x".."z"+ // what follows is left out\n# this too',
         "start: (T1){2,2}\nT1: /(?:[\\x{78}-\\x{7a}])+/"),
        ('start: (\n"a"\n| "b"\n)~1..3', 'start: ("a" | "b"){1,3}'),
        ('start: A\nA: B "+"\nB: "b"i', "start: T1\nT1: /(?:[Bb])\\x{2b}/\nT2: /[Bb]/"),
        ("start: A\n%import common (LF, WS_INLINE)\n%import common.INT -> A\n%ignore WS_INLINE | LF",
         "start: T3\nT1: /(?:[\\x{9}\\x{20}])+/\nT2: /\\x{a}/\nT3: /(?:[\\x{30}-\\x{39}])+/\n"
         '%llguidance {"allow_initial_skip": true}\n'
         "%ignore /(?:(?:(?:[\\x{9}\\x{20}])+)|(?:\\x{a}))/"),
        ('start: "a"\nunused: nothing', 'start: "a"'),
        (r'start: "\"\\\n\x41\u00e9" /a\/b/', 'start: ("\\"\\\\\\nA\\u00e9" /a\\x{2f}b/)'),
        (r"start: /[\\/]\/\\/", "start: /[\\x{2f}\\x{5c}]\\x{2f}\\x{5c}/"),
        ('start: "a"~0 "b"', 'start: ("" "b")'),
        # What is empty is no expression: `//` would begin a comment.
        ('start: "a" | ""i', 'start: ("a" | "")'),
        ('start: "x" /a{0}/ T\nT: ""', 'start: ("x" "" T1)\nT1: ""'),
        ('start: "a"\n%ignore ""', 'start: "a"'),
        # A grammar of xgrammar would have that.
        ('start: A "::=" A\nA: "::="', 'start: (T1 "\\u003a\\u003a=" T1)\nT1: /\\x{3a}\\x{3a}\\x{3d}/'),
    ],
)  # fmt: skip
def test_a_grammar_is_written_for_the_engine(definition: str, rules: str) -> None:
    text = lark_text(lark_grammar(definition))
    assert sorted(text.rstrip().split("\n")) == sorted(rules.split("\n"))


@pytest.mark.parametrize(
    ("definition", "what"),
    [
        ("", "it has no rule `start`"),
        ("a: b", "it has no rule `start`"),
        ("start: a", "line 1, column 8: `a` is not defined"),
        ('start: "a"\n\nstart: "b"', "line 3, column 1: `start` is defined twice"),
        ('start: "a', 'line 1, column 8: `"` cannot be read'),
        ('start: ("a"', "line 1, column 8: no `)` closes this bracket"),
        ('start: "a")', "line 1, column 11: a rule, a terminal or the end of the line has to follow"),
        ('start "a"', "line 1, column 7: `:` behind `start` has to stand here"),
        ('start: A\nA: b\nb: "b"', "line 2, column 4: `b` is a rule, and a terminal has terminals only"),
        ('start: A\nA: B\nB: "b" A', "line 1, column 8: the terminal `A` needs itself"),
        ('start: "a" start', "nothing that `start` matches can end"),
        ("start: start", "nothing that `start` matches can end"),
        ('start: "z".."a"', "line 1, column 8: a range has to rise"),
        ('start: "ab".."c"', "line 1, column 8: a range is of two texts of one character each"),
        ('start: "a"~3..2', "line 1, column 12: a number of repetitions has to rise"),
        ('start: "a"~2000', "line 1, column 12: a number of repetitions has to rise, to 1024 at most"),
        ('start: "a"{2}', "line 1, column 11: `{` cannot stand here"),
        ('start: pair{"a"}\npair{x}: x x', "line 1, column 12: `{` cannot stand here"),
        (r'start: "\q"', r"line 1, column 8: `\q` is no escape of a text here"),
        (r'start: "\ud800"', r"line 1, column 8: `\ud800` is no escape of a text here"),
        ("start: /(?=a)/", "line 1, column 8: a regular expression cannot be used: `(?=` cannot stand where it does"),
        ("start: /a/x", "line 1, column 8: a regular expression cannot be used: it has the flag `x`"),
        ("start: /[a-z]{1000}{1000}/", "line 1, column 8: a regular expression cannot be used"),
        ("%import common.NOTHING\nstart: NOTHING", "line 1, column 16: `common` has no `NOTHING` here"),
        ("%import python.NAME\nstart: NAME", "line 1, column 9: only terminals of `common` can be imported"),
        ("%import .other.NAME\nstart: NAME", "line 1, column 9: the name `common` has to stand here"),
        ("%import ..x (A)\nstart: A", "line 1, column 9: the name `common` has to stand here"),
        ('%declare A\nstart: A', "line 1, column 1: `%declare` is not supported"),
        ('%override start: "a"', "line 1, column 1: `%override` is not supported"),
        ("start: %json {}", "line 1, column 8: a rule, a terminal or the end of the line has to follow"),
        ("start: <|im_end|>", "line 1, column 8: `<` cannot be read"),
        ("start: @other", "line 1, column 8: `@` cannot be read"),
        ('start[capture]: "a"', "line 1, column 6: `:` behind `start` has to stand here"),
        ("start: " + "(" * 33 + '"a"' + ")" * 33, "line 1, column 40: brackets are nested deeper than 32"),
        ("start: a\na: " + "a " * 5000, "it is longer than 8192 characters"),
        ('start: (("a"~99)~99)~99', "it is longer than 8192 characters with its repetitions written out"),
        ("start: A0\n" + "\n".join(f"A{n}: A{n + 1} A{n + 1}" for n in range(40)) + '\nA40: "a"', "the terminal `A"),
        ("start: a0\n" + "\n".join(f'a{n}: "a"' for n in range(300)), "there are more than 256 rules and terminals"),
        ('start: "a\0"', "it has a character of the code 0"),
        ('start: S\nS: /".*?"/', "line 2, column 4: a regular expression cannot be used: `*?` takes as little"),
        ("start: /a+?b/", 'say what may not follow instead, as `"[^"]*"` does for `".*?"`'),
        ("start: /a??b/", "`??` takes as little as it can"),
        ("start: /a{2,3}?b/", "`}?` takes as little as it can"),
        (f"start: T\nA: /[{HAN}]/\nB: {'A ' * 63}\nT: {'B ' * 63}", "the terminal `B` is longer than 8192 characters"),
        ("start: " + f"/{'.' * 1000}/ " * 8, "it has too many characters and ranges of characters"),
        (f'{chain("A", 250)}A250: "a"', "the terminal `A0` is nested deeper than 100"),
        (f'{chain("A", 20, 9)}A20: "a"', "the terminal `A0` is nested deeper than 100"),
        ("start: " + "(" * 32 + '"x" /' + "(" * 32 + "a" + "b|c)?" * 32 + "/" + ")+" * 32, "is nested deeper than 100"),
        (f'{chain("A", 3, 31)}A3: "a"\n%ignore {"[" * 9}A0{"]" * 9}', "is nested deeper than 100"),
        (f'{chain("a", 165, 14)}a165: "a"', "the depths of its rules and terminals are more than 1200 together"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_its_place(definition: str, what: str) -> None:
    with pytest.raises(GrammarFault) as caught:
        lark_grammar(definition)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    "definition",
    [
        "start: " + "|" * 8000,
        "start: " + "a " * 4000 + "\n" + 'a: "b"',
        "start: /" + "[" * 8000 + "/",
        'start: "' + "\\" * 8000,
        "start: /" + "(a|" * 300 + "/",
        "\n" * 8000,
        "start: a0\n" + "\n".join(f"a{n}: a{n + 1}" for n in range(250)) + "\na250: a0",
        "start: A0\n" + "\n".join(f"A{n}: A{n + 1}" for n in range(250)) + '\nA250: "a"',
        "start: " + "~".join("1" * 4000),
        "start: " + " ".join(f"/[^{chr(0x4E00 + 2 * n)}]/" for n in range(1000)),
        "start: " + " ".join(f"/[^{chr(0x4E00 + 2 * n)}]/" for n in range(1000)) + "\n%ignore /[^a]/",
    ],
    ids=range(11),
)
def test_reading_is_quick_whatever_is_sent(definition: str) -> None:
    began = time.process_time()
    try:
        grammar = lark_grammar(definition)
        texts = [lark_text(grammar), escaped_lark_text(grammar)]
    except GrammarFault:
        texts = []
    assert all(len(text) < 600_000 for text in texts)
    assert time.process_time() - began < 1


def test_the_inside_of_a_json_string_has_its_escapes_and_terminals_of_one_character() -> None:
    text = escaped_lark_text(lark_grammar('start: A "b\\n"\nA: /["-$]+/\n%ignore " "'))
    assert text == (
        "start: ignored r0\n"
        "C0: /[b]/\n"
        r"C1: /\x{5c}n/" "\n"
        "r0: ((r1 ignored) (C0 C1 ignored))\n"
        r"C2: /[\x{23}-\x{24}]|\x{5c}\x{22}/" "\n"
        "r1: ((C2)+)\n"
        r"C3: /[\x{20}]/" "\n"
        "ignored: ((C3))*\n"
    )  # fmt: skip


@pytest.mark.parametrize("write", [lark_text, escaped_lark_text])
@pytest.mark.parametrize(
    "definition",
    [
        "start: " + "(" * 32 + '"a" "b" | "c"' + ")*" * 32,
        "start: " + '("{" ' * 32 + '"(" | ")"' + ' | "b")* "}"' * 32,
        "start: /" + "(x" * 32 + "a" + "|b)*" * 32 + "/",
    ],
    ids=["repeated", "bracketed", "expression"],
)
def test_a_rule_for_the_engine_has_few_brackets_within_another(
    write: Callable[[Grammar], str], definition: str
) -> None:
    for line in write(lark_grammar(definition)).splitlines():
        rule = re.sub(r"/[^/]+/|\"[^\"]*\"", "", line)
        depths = list(accumulate({"(": 1, ")": -1}.get(one, 0) for one in rule))
        assert max(depths) <= 12
        assert depths[-1] == 0


@pytest.mark.parametrize("definition", [PATCHES, PAIRS])
def test_grammars_of_agents_are_read(definition: str) -> None:
    assert lark_text(lark_grammar(definition)).startswith("start: ")


SAMPLES = (
    "", "0", "07", "+1", "-1.5", "1.", ".5", "1e3", "1.5E-2", "e", "a", "Z", "ab1", "_a", "1a", " ", "\t", "\n", "\r\n",
    "\r", '""', '"a"', r'"\""', r'"\\"', '"a', '"\n"', "#a", "# a\n", "//a", "/**/", "/* * */", "/* */ */", "--a",
    "f0", "ab", "A_9",
)  # fmt: skip


@pytest.mark.parametrize("name", COMMON)
def test_a_terminal_of_common_matches_what_lark_s_does(name: str) -> None:
    from lark import Lark
    from lark.exceptions import UnexpectedInput

    parser = Lark(f"start: {name}\n%import common.{name}", parser="earley", lexer="dynamic_complete")

    def is_read(text: str) -> bool:
        try:
            parser.parse(text)
        except UnexpectedInput:
            return False
        return True

    assert [one for one in SAMPLES if re.fullmatch(COMMON[name], one)] == [one for one in SAMPLES if is_read(one)]
