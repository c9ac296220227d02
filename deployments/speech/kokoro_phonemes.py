"""The phonemes that Kokoro was trained with, from eSpeak NG's.

Kokoro writes a diphthong or an affricate as one symbol, and English in an alphabet of its own. Which symbol means what:
https://github.com/hexgrad/misaki, EN_PHONES.md and its fallback to eSpeak NG.
"""

import re

from deployments.speech.espeak_library import Clause, espeak_library

TIE = "^"  # between the letters of one phoneme
# What eSpeak NG calls the languages.
ESPEAK_VOICES = {name: name for name in ("en-us", "es", "fr", "hi", "it", "pt-br")} | {"en-gb": "en"}
SYLLABIC = "\u0329"
ANY_LANGUAGE = {
    "a^\u026a": "I", "a^\u028a": "W", "e^\u026a": "A", "\u0254^\u026a": "Y", "o^\u028a": "O", "\u0259^\u028a": "Q",
    "d^z": "\u02a3", "d^\u0292": "\u02a4", "t^s": "\u02a6", "t^\u0283": "\u02a7", "s^s": "S", "-": "",
}  # fmt: skip
ENGLISH = {
    "a^\u026a": "I", "a^\u028a": "W", "e^\u026a": "A", "e": "A", "\u0254^\u026a": "Y",
    "d^\u0292": "\u02a4", "t^\u0283": "\u02a7", "\u0259^l": "\u1d4al", "\u025a": "\u0259\u0279", "\u0250": "\u0259",
    "r": "\u0279", "x": "k", "\u00e7": "k", "\u026c": "l", "\u0294": "t", "\u0294n": "t\u1d4an",
    f"\u0294n{SYLLABIC}": "t\u1d4an", f"\u0294\u02ccn{SYLLABIC}": "t\u1d4an",
    "\u02b2": "", "\u02b2o": "jo", "\u02b2\u0259": "j\u0259", "\u0303": "",
}  # fmt: skip
AMERICAN = ENGLISH | {
    "o^\u028a": "O", "\u025c\u02d0\u0279": "\u025c\u0279", "\u025c\u02d0": "\u025c\u0279", "\u026a^\u0259": "i\u0259",
    "\u026a\u0259": "i\u0259", "\u02d0": "", "\u027e": "T", "o": "\u0254",
}  # fmt: skip
BRITISH = ENGLISH | {
    "\u0259^\u028a": "Q", "e^\u0259": "\u025b\u02d0", "i^\u0259": "\u026a\u0259", "i\u0259": "\u026a\u0259",
    "o": "\u0254",
}  # fmt: skip
SYMBOLS = {"en-us": AMERICAN, "en-gb": BRITISH}


def kokoro_phonemes(text: str, language: str) -> str:
    """Phonemes and marks of `text`, as Kokoro reads them in `language`, one of ESPEAK_VOICES."""
    clauses = espeak_library().clauses(text, ESPEAK_VOICES[language], TIE)
    return " ".join(_written(clause, SYMBOLS.get(language, ANY_LANGUAGE)) for clause in clauses)


def _written(clause: Clause, symbols: dict[str, str]) -> str:
    longest_first = sorted(map(re.escape, symbols), key=len, reverse=True)
    written = re.sub("|".join(longest_first), lambda found: symbols[found[0]], clause.phonemes)
    written = re.sub(rf"(\S){SYLLABIC}", "\u1d4a\\1", written)  # a syllable without a vowel
    return written.replace(TIE, "") + clause.mark
