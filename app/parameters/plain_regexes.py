"""Regular expressions that match a whole text, written as every engine reads them.

Engines read a regular expression each in a way of its own, and what they do not know some take for text. So only what
can be written as all of them read it is legal, and sets of characters are written out.
"""

import re
import string

from app.parameters.patterns import TOKEN, PatternFault, pattern_size
from app.parameters.schemas import MAX_PATTERN_SIZE

ANY_BUT_NEWLINE = r"[^\n]"
SETS = {"d": "0-9", "w": "a-zA-Z0-9_", "s": r" \t\n\r\f\v"}
CHARACTERS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}  # and their escapes
LEGAL = (
    "literals, escaped punctuation, \\d \\w \\s \\n \\r \\t \\f \\v, ., [classes], outside of them \\D \\W \\S, "
    "(groups), (?:groups), | and the repetitions * + ? {m} {m,} {m,n}; ^ as its first character and $ as its last"
)
ESCAPABLE = frozenset(string.punctuation) - frozenset("<>")  # those two, escaped, are ends of words to some
ESCAPED = re.compile(r"\\(.)", re.DOTALL)
UNFIT_IN_CLASS = re.compile(r"\[|&&|--|~~|^\\\^")  # of other dialects; and what an engine takes for a negation
ITEM = re.compile(r"(\\?.)(?:-(\\?.))?", re.DOTALL)  # of a class: a character or a range


LAZY = (
    '`{}` takes as little as it can, which a terminal cannot; say what may not follow instead, as `"[^"]*"` does for '
    '`".*?"`'
)


def plain_regex(pattern: str, *, is_whole: bool = True) -> str:
    """`pattern`, which is to match a whole text, as every engine understands it. Raises PatternFault.

    `is_whole`: nothing can follow the text, so that repetitions may be lazy.
    """
    if not pattern or "\0" in pattern:
        raise PatternFault("it is empty, or has a character of the code 0")
    if pattern_size(pattern) > MAX_PATTERN_SIZE:
        raise PatternFault(f"it is longer than {MAX_PATTERN_SIZE} characters with its repetitions written out")
    body = pattern.removeprefix("^")
    backslashes = len(body) - 1 - len(body[:-1].rstrip("\\"))  # before the last character
    if body.endswith("$") and backslashes % 2 == 0:
        body = body[:-1]
    if not body:
        raise PatternFault("it matches nothing but the empty text")
    return "".join(_written(body, is_whole))


def _written(pattern: str, is_whole: bool) -> list[str]:
    """The tokens of a pattern without anchors."""
    parts: list[str] = []
    repeatable = lazy = False  # whether a repetition, and whether its mark `?`, may follow
    at = 0
    while at < len(pattern):
        token = TOKEN.match(pattern, at)
        if token is None:
            raise PatternFault("it is not a regular expression")
        text, kind, at = token[0], token.lastgroup, token.end()
        match kind:
            case "open" if text in ("(", "(?:"):
                text, repeatable, lazy = "(?:", False, False
            case "close":
                repeatable, lazy = True, False
            case "or":
                repeatable, lazy = False, False
            case "class":
                text, repeatable, lazy = _written_class(text), True, False
            case "quantifier" if lazy and text == "?" and not is_whole:
                raise PatternFault(LAZY.format(pattern[at - 2 : at]))
            case "quantifier" if lazy and text == "?":
                text, lazy = "", False  # the shortest match of a whole text is the text
            case "quantifier" if repeatable:
                repeatable, lazy = False, True
            case "atom" if text.startswith("\\") or text not in "^${}":
                text, repeatable, lazy = _written_atom(text), True, False
            case "high" | "comma" if repeatable and token["low"] and _rises(token["low"], token["high"]):
                repeatable, lazy = False, True
            case _:
                raise PatternFault(f"`{text}` cannot stand where it does; legal are {LEGAL}")
        parts.append(text)
    return parts


def _rises(low: str, high: str) -> bool:
    return low.isascii() and high.isascii() and (not high or int(low) <= int(high))


def _written_atom(text: str) -> str:
    if text == ".":
        return ANY_BUT_NEWLINE
    name = text[1:]
    if name in SETS:
        return f"[{SETS[name]}]"
    return f"[^{SETS[name.lower()]}]" if name.lower() in SETS else ESCAPED.sub(_written_escape, text)


def _written_class(text: str) -> str:
    """A class with its control characters as escapes, since engines cut a pattern into lines."""
    inside = text[1:-1].removeprefix("^")
    if not inside or UNFIT_IN_CLASS.search(inside) or not all(_is_in_order(*item) for item in ITEM.findall(inside)):
        what = "characters, escapes and rising ranges of characters; `[` escaped, `^` not the first"
        raise PatternFault(f"the class `{text[:80]}` is not plain; legal are {what}")
    text = ESCAPED.sub(_written_escape, text)
    for name, character in CHARACTERS.items():
        text = text.replace(character, f"\\{name}")
    return text


def _is_in_order(low: str, high: str) -> bool:
    """Whether an item of a class is a character, or a range that rises from `low` to `high`."""
    ends = [CHARACTERS.get(end[1], end[1]) if end.startswith("\\") else end for end in (low, high)]
    return not high or (not {low, high} & {f"\\{name}" for name in SETS} and ends[0] <= ends[1])


def _written_escape(escape: re.Match[str]) -> str:
    """An escape as every engine reads it; of a set, its characters. Raises PatternFault."""
    name = escape[1]
    if name in SETS:
        return SETS[name]
    if name.isalnum() and name not in CHARACTERS:
        raise PatternFault(f"it has the escape `\\{name}` where it cannot stand; legal are {LEGAL}")
    return escape[0] if name in ESCAPABLE or name in CHARACTERS else name
