"""Long texts in parts that are spoken one after the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.speech.sentences import sentences


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said "stop." Then he left.', ['He said "stop."', "Then he left."]),
        ("Dr. Fox met Mr. T. Boat at 3.14 p.m. today.", ["Dr. Fox met Mr. T. Boat at 3.14 p.m.", "today."]),
        ("Wait… what?", ["Wait…", "what?"]),
        ("你好。再见。", ["你好。", "再见。"]),
        ("a title\n\nand a line", ["a title", "and a line"]),
        ("no end", ["no end"]),
        ("  \n ", []),
        ("", []),
    ],
)
def test_a_text_is_split_where_its_sentences_end(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


def test_a_sentence_that_is_too_long_is_cut_at_a_pause() -> None:
    assert sentences("a fox, " * 5, longest=16) == ["a fox, a fox,", "a fox, a fox,", "a fox,"]
    assert sentences("x" * 25, longest=10) == ["x" * 10, "x" * 10, "x" * 5]


@given(st.text(max_size=300), st.integers(2, 40))
def test_nothing_is_lost_and_nothing_is_too_long(text: str, longest: int) -> None:
    parts = sentences(text, longest)
    assert all(part.strip() and len(part) <= longest for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())
