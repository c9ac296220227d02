"""eSpeak NG's library: what it says and writes down, for all engines of a process."""

import pytest

from deployments.speech.espeak_library import Clause, espeak_library
from deployments.speech.synthesizer import VoiceError


def clauses(text: str, voice: str = "en-us", tie: str = "") -> list[Clause]:
    return espeak_library().clauses(text, voice, tie)


def test_a_word_is_written_in_the_phonetic_alphabet() -> None:
    assert clauses("Hello there") == [Clause("h\u0259l\u02c8o\u028a \u00f0\u02c8\u025b\u0279", "")]


def test_a_clause_keeps_the_mark_that_ends_it() -> None:
    marks = [clause.mark for clause in clauses("One, two; three: four? Five! Six. Seven")]
    assert marks == [",", ";", ":", "?", "!", ".", ""]


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("\u201cYes.\u201d", "."),
        ("(Really?)", "?"),
        ("here\u2026", "\u2026"),
        ("a dash \u2014", "\u2014"),
        ("caf\u00e9!", "!"),
        ("\u062a\u0645\u0627\u0645\u061f", "?"),
        ("\u0928\u092e\u0938\u094d\u0924\u0947\u0964", "."),
    ],
)
def test_the_mark_of_any_script_before_any_bracket(text: str, mark: str) -> None:
    assert clauses(text)[-1].mark == mark


def test_marks_within_a_number_end_nothing() -> None:
    assert [clause.mark for clause in clauses("It is 1,000.5 metres.")] == ["."]


def test_a_tie_joins_the_letters_of_a_diphthong() -> None:
    (clause,) = clauses("day", tie="^")
    assert clause.phonemes == "d\u02c8e^\u026a"


@pytest.mark.parametrize("text", ["", "...", "\u2026 \u2014", " \n"])
def test_marks_alone_are_no_clause(text: str) -> None:
    assert clauses(text) == []


def test_a_word_of_another_language_leaves_no_flag() -> None:
    assert "(" not in "".join(clause.phonemes for clause in clauses("Le weekend, le smartphone.", "fr"))


def test_a_zero_byte_hides_nothing_after_it() -> None:
    assert clauses("one\0two") == clauses("one two")


def test_a_voice_that_is_none_is_refused() -> None:
    with pytest.raises(VoiceError, match="no voice 'nobody'"):
        clauses("Hello", "nobody")


def test_writing_down_in_one_language_changes_no_voice_that_speaks_another() -> None:
    before = sum(map(len, espeak_library().audio("Hello there.", "en-us")))
    clauses("Guten Tag.", "de")
    assert sum(map(len, espeak_library().audio("Hello there.", "en-us"))) == pytest.approx(before, rel=0.02)
