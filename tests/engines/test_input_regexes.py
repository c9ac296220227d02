"""Regular expressions of custom tools' inputs as xgrammar reads them: it accepts what matches."""

import re

import pytest
from xgrammar import Grammar
from xgrammar.testing import _is_grammar_accept_string as accepts

from app.parameters.plain_regexes import plain_regex

PATTERNS = (
    r"^\d{3}-[a-c]+$", "a.b", "a*?b", "(a|b){1,3}c?", r"[\w-]+", "[a-]+", "[^a]", r"\D", r"\W+", r"[^\s\d]", r"a\$",
    r"a\\$", r"(a|)b", "a{2,}", r"[\]\^]", r"[a^]", "[\n\t]", '"', r"[\"]", r"\<\/\-\>", "(((a)))", "é+",
)  # fmt: skip
TEXTS = (
    "", "a", "b", "ab", "aab", "abac", "123-ab", "a\nb", 'a"b', "a\\", "a$", "$", "-", "_", "]", "^", "é", "\n", "\t",
    " ", '"', "</->", "</-", "aaa", "20", "१",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_is_accepted_is_what_matches(pattern: str) -> None:
    grammar = Grammar.from_regex(plain_regex(pattern))
    assert [text for text in TEXTS if accepts(grammar, text)] == [
        text for text in TEXTS if re.fullmatch(pattern, text, re.ASCII)
    ]
