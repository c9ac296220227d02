"""Long texts in parts that are synthesized one after the other, so that the first audio need not wait for the last."""

import re
from itertools import pairwise

LONGEST = 300  # characters; a longer sentence is cut at a comma, else at a blank, else anywhere
# The end of a sentence: marks of Latin scripts before a blank, those of Chinese and Japanese and a line's end anywhere.
END = re.compile(r"(?<=[.!?\u2026])[\"'\u201d\u2019)\]]*\s+|(?<=[\u3002\uff01\uff1f])|\n+")
SHORT_FORMS = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|No|approx)|\b[A-Z])\.$")
# Where a long sentence is best cut, the better places first: after a comma or its like, after a blank.
PAUSES = (re.compile(r"[,;:]\s+|[\uff0c\uff1b\uff1a\u3001]"), re.compile(r"\s+"))


def sentences(text: str, longest: int = LONGEST) -> list[str]:
    """The sentences of `text`, none of them blank or longer than `longest` characters. Joined they say all of it."""
    found: list[str] = []
    parts: list[str] = []
    for part in _split(text):
        parts.append(part)
        if not SHORT_FORMS.search(part):
            found.append(" ".join(parts))
            parts = []
    found += [" ".join(parts)] if parts else []
    return [piece for sentence in found for piece in _cut(sentence, longest)]


def has_words(text: str) -> bool:
    """Whether anything in `text` can be said. Models make audio of anything, and invent words for a row of dots."""
    return any(map(str.isalnum, text))


def _split(text: str) -> list[str]:
    places = [0, *(match.end() for match in END.finditer(text)), len(text)]
    parts = (text[start:end].strip() for start, end in pairwise(places))
    return [part for part in parts if part]


def _cut(sentence: str, longest: int) -> list[str]:
    pieces = []
    while len(sentence) > longest:
        place = _pause(sentence, longest)
        pieces.append(sentence[:place].strip())
        sentence = sentence[place:].strip()
    return [*pieces, sentence] if sentence else pieces


def _pause(sentence: str, longest: int) -> int:
    """The last good place for a cut in the second half of what may be said at once."""
    for pause in PAUSES:
        places = [match.end() for match in pause.finditer(sentence, 0, longest)]
        if places and places[-1] > longest // 2:
            return places[-1]
    return longest
