"""A regular expression that matches a whole text, as a tree."""

from app.parameters.grammar_tree import (
    CharacterSet,
    Literal,
    Node,
    caseless,
    character_set,
    choice,
    repetition,
    sequence,
)
from app.parameters.patterns import TOKEN, PatternFault
from app.parameters.plain_regexes import CHARACTERS, ITEM, plain_regex

FLAGS = "isu"  # both cases; `.` is any character; Unicode, which is so anyhow
ANY = "(?:.|\n)"


def regex_tree(pattern: str, flags: str = "", *, is_whole: bool = True) -> Node:
    """The tree of a Python regular expression. Raises PatternFault for what not every engine reads alike.

    `is_whole`: it matches a whole text, else a part of one.
    """
    if unknown := set(flags) - set(FLAGS):
        raise PatternFault(f"it has the flag `{min(unknown)}`; legal are i, s and u")
    if "s" in flags:
        pattern = "".join(ANY if one == "." else one for one in _tokens(pattern))
    tree = _Reader(plain_regex(pattern, is_whole=is_whole)).read()
    return caseless(tree) if "i" in flags else tree


def _tokens(pattern: str) -> list[str]:
    found, at = [], 0
    while token := TOKEN.match(pattern, at):
        found.append(token[0])
        at = token.end()
    return [*found, pattern[at:]]


class _Reader:
    """Reads a pattern that is plain: each of its tokens stands where it may."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def read(self) -> Node:
        """Up to the end, or to the bracket that ends a group."""
        options: list[list[Node]] = [[]]
        while token := TOKEN.match(self._pattern, self._at):
            self._at = token.end()
            items = options[-1]
            match token.lastgroup:
                case "open":
                    items.append(self.read())
                case "close":
                    break
                case "or":
                    options.append([])
                case "class":
                    items.append(_set_of(token[0]))
                case "quantifier":
                    low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[token[0]]
                    items.append(repetition(items.pop(), low, high))
                case "atom":
                    items.append(Literal(_character(token[0])))
                case _:
                    most = token["high"] if token["comma"] else token["low"]
                    items.append(repetition(items.pop(), int(token["low"]), int(most) if most else None))
        return choice(map(sequence, options))


def _character(text: str) -> str:
    return CHARACTERS.get(text[1], text[1]) if text.startswith("\\") else text


def _set_of(text: str) -> CharacterSet:
    inside = text[1:-1]
    negated = inside.startswith("^")
    ranges = []
    for low, high in ITEM.findall(inside.removeprefix("^")):
        first = ord(_character(low))
        ranges.append((first, ord(_character(high)) if high else first))
    return character_set(ranges, negated=negated)
