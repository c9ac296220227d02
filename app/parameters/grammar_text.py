"""Grammars as llguidance reads them: Lark's language with texts, regular expressions, rules and terminals only."""

import json
from collections.abc import Mapping

from app.parameters.grammar_tree import (
    CharacterSet,
    Choice,
    Grammar,
    Lexeme,
    Literal,
    Node,
    Reference,
    Repetition,
    Sequence,
    character_set,
)

START = "start"


CONTROLS = 0x20  # the code points below it
BACKSLASH, QUOTE = ord("\\"), ord('"')
IGNORED = "ignored"


def lark_text(grammar: Grammar) -> str:
    """A grammar whose terminals the engine matches whole, the longest text first."""
    return _Writer(grammar).write()


def escaped_lark_text(grammar: Grammar) -> str:
    """The same texts, each as the inside of a JSON string.

    Every character is a terminal of its own: with an escape the engine could not see where a longer one ends.
    """
    return _EscapedWriter(grammar).write()


class _Writer:
    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        # Names of our own, since some of the client's mean something to the engine.
        self._names = {name: f"T{at}" if Grammar.is_terminal(name) else f"r{at}" for at, name in enumerate(grammar[0])}
        self._names[START] = START

    def write(self) -> str:
        """The whole text."""
        definitions = self._grammar.definitions
        lines = [f"{self._names[name]}: {self._definition(name, node)}" for name, node in definitions.items()]
        lines += [f"%ignore /{regex_text(node, definitions)}/" for node in self._grammar.ignored]
        return "\n".join(lines) + "\n"

    def _definition(self, name: str, node: Node) -> str:
        if Grammar.is_terminal(name):
            return f"/{regex_text(node, self._grammar.definitions)}/"
        return self._rule(node)

    def _rule(self, node: Node) -> str:
        match node:
            case Literal(text):
                return json.dumps(text)
            case CharacterSet() | Lexeme():
                return f"/{regex_text(node, {})}/"
            case Sequence(items):
                return f"({' '.join(map(self._rule, items))})" if items else '""'
            case Choice(items):
                return f"({' | '.join(map(self._rule, items))})"
            case Repetition(item, low, high):
                return f"({self._rule(item)}){_times(low, high)}"
            case Reference(name):
                return self._names[name]


class _EscapedWriter:
    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._names = {name: f"r{at}" for at, name in enumerate(grammar.definitions)}

    def write(self) -> str:
        """The whole text."""
        grammar, between = self._grammar, " " + IGNORED if self._grammar.ignored else ""
        lines = [f"{START}:{between} {self._names[START]}"]
        for name, node in grammar.definitions.items():
            lines.append(f"{self._names[name]}: {self._rule(node, '' if Grammar.is_terminal(name) else between)}")
        if between:
            lines.append(f"{IGNORED}: ({' | '.join(self._rule(node, '') for node in grammar.ignored)})*")
        return "\n".join(lines) + "\n"

    def _rule(self, node: Node, after: str) -> str:
        """`after` stands behind every terminal."""
        match node:
            case Literal(text):
                return f"({' '.join(_json_set(((ord(one),) * 2,)) for one in text)}{after})" if text else '""'
            case CharacterSet(ranges):
                return f"({_json_set(ranges)}{after})" if after else _json_set(ranges)
            case Lexeme(item):
                return f"({self._rule(item, '')}{after})"
            case Sequence(items):
                return f"({' '.join(self._rule(item, after) for item in items)})" if items else '""'
            case Choice(items):
                return f"({' | '.join(self._rule(item, after) for item in items)})"
            case Repetition(item, low, high):
                return f"({self._rule(item, after)}){_times(low, high)}"
            case Reference(name):
                return f"({self._names[name]}{after})" if Grammar.is_terminal(name) else self._names[name]


def _json_set(ranges: tuple[tuple[int, int], ...]) -> str:
    """The regular expression, between its marks, of a character within a JSON string."""
    escapes = [point for low, high in ranges for point in range(low, min(high + 1, CONTROLS))]
    escapes += [point for point in (QUOTE, BACKSLASH) if any(low <= point <= high for low, high in ranges)]
    special = character_set([(0, CONTROLS - 1), (QUOTE, QUOTE), (BACKSLASH, BACKSLASH)]).ranges
    plain = regex_text(character_set([*character_set(ranges, negated=True).ranges, *special], negated=True), {})
    options = [] if plain == "[]" else [plain]
    options += [regex_text(Literal(json.dumps(chr(point))[1:-1]), {}) for point in escapes]
    return f"/{'|'.join(options)}/"


def regex_text(node: Node, definitions: Mapping[str, Node]) -> str:
    """A tree as a regular expression of Rust; `definitions` has the terminals that it refers to."""
    match node:
        case Literal(text):
            return "".join(map(_escaped, text))
        case CharacterSet(ranges):
            inside = "".join(
                _escaped(chr(low)) if low == high else f"{_code(low)}-{_code(high)}" for low, high in ranges
            )
            return f"[{inside}]"
        case Lexeme(item):
            return regex_text(item, definitions)
        case Sequence(items):
            return "".join(regex_text(item, definitions) for item in items)
        case Choice(items):
            return f"(?:{'|'.join(regex_text(item, definitions) for item in items)})"
        case Repetition(item, low, high):
            return f"(?:{regex_text(item, definitions)}){_times(low, high)}"
        case Reference(name):
            return f"(?:{regex_text(definitions[name], definitions)})"


def _times(low: int, high: int | None) -> str:
    if high is None:
        return {0: "*", 1: "+"}.get(low, f"{{{low},}}")
    return "?" if (low, high) == (0, 1) else f"{{{low},{high}}}"


def _escaped(character: str) -> str:
    return character if character.isascii() and character.isalnum() else _code(ord(character))


def _code(point: int) -> str:
    return f"\\x{{{point:x}}}"
