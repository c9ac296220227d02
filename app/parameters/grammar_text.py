"""Grammars as llguidance reads them: Lark's language with texts, regular expressions, rules and terminals only."""

import json
from collections.abc import Mapping
from itertools import count

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
    children,
)

START = "start"
EMPTY = '""'  # nothing between the marks of an expression would be a comment
MAX_LEVELS = 8  # of a tree in one rule, each with a bracket; llguidance reads about 30
# Of a text, as escapes: what tells grammars of xgrammar from those of Lark.
MARKS = {ord(":"): "\\u003a"}
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


class _Rules:
    """The lines of a text, with a rule of its own for each part that lies deep: the engine bounds a rule's brackets."""

    def __init__(self, grammar: Grammar) -> None:
        self._definitions = grammar.definitions
        self._ignored = [node for node in grammar.ignored if regex_text(node, grammar.definitions)]
        self._lines: list[str] = []
        self._parts = count()

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def _define(self, name: str, text: str) -> str:
        self._lines.append(f"{name}: {text}")
        return name

    def _part(self, node: Node, after: str, level: int) -> str:
        """What stands for a node in a rule; `level`: how deep it lies there, `after`: behind each terminal."""
        if level < MAX_LEVELS or not children(node):
            return self._rule(node, after, level + 1)
        return self._define(f"part{next(self._parts)}", self._rule(node, after, 0))

    def _rule(self, node: Node, after: str, level: int) -> str:
        match node:
            case Sequence(items) if items:
                return f"({' '.join(self._part(item, after, level) for item in items)})"
            case Choice(items):
                return f"({' | '.join(self._part(item, after, level) for item in items)})"
            case Repetition(item, low, high):
                text = self._part(item, after, level)
                is_group = text.startswith("(") and text.endswith(")")
                return f"{text if is_group else f'({text})'}{_times(low, high)}"
        return EMPTY


class _Writer(_Rules):
    def write(self) -> str:
        """The whole text."""
        # Names of our own, since some of the client's mean something to the engine.
        self._names = {
            name: f"T{at}" if Grammar.is_terminal(name) else f"r{at}" for at, name in enumerate(self._definitions)
        } | {START: START}
        if self._ignored:
            self._lines.append('%llguidance {"allow_initial_skip": true}')
        for name, node in self._definitions.items():
            is_terminal = Grammar.is_terminal(name)
            self._define(self._names[name], self._lexeme(node) if is_terminal else self._rule(node, "", 0))
        self._lines += [f"%ignore {self._lexeme(node)}" for node in self._ignored]
        return self.text()

    def _lexeme(self, node: Node) -> str:
        text = regex_text(node, self._definitions)
        return f"/{text}/" if text else EMPTY

    def _rule(self, node: Node, after: str, level: int) -> str:
        match node:
            case Literal(text):
                return json.dumps(text).translate(MARKS)
            case CharacterSet() | Lexeme():
                return self._lexeme(node)
            case Reference(name):
                return self._names[name]
        return super()._rule(node, after, level)


class _EscapedWriter(_Rules):
    def write(self) -> str:
        """The whole text."""
        self._names = {name: f"r{at}" for at, name in enumerate(self._definitions)}
        self._sets: dict[tuple[tuple[int, int], ...], str] = {}
        between = " " + IGNORED if self._ignored else ""
        self._define(START, f"{between} {self._names[START]}".lstrip())
        for name, node in self._definitions.items():
            self._define(self._names[name], self._rule(node, "" if Grammar.is_terminal(name) else between, 0))
        if between:
            self._define(IGNORED, f"({' | '.join(self._rule(node, '', 1) for node in self._ignored)})*")
        return self.text()

    def _rule(self, node: Node, after: str, level: int) -> str:
        match node:
            case Literal(text) if text:
                return f"({' '.join(self._set(((ord(one),) * 2,)) for one in text)}{after})"
            case CharacterSet(ranges):
                return f"({self._set(ranges)}{after})" if after else self._set(ranges)
            case Lexeme(item):
                return f"({self._part(item, '', level)}{after})"
            case Reference(name):
                return f"({self._names[name]}{after})" if Grammar.is_terminal(name) else self._names[name]
        return super()._rule(node, after, level)

    def _set(self, ranges: tuple[tuple[int, int], ...]) -> str:
        """The terminal of a set, which is written once."""
        if ranges not in self._sets:
            self._sets[ranges] = self._define(f"C{len(self._sets)}", _json_set(ranges))
        return self._sets[ranges]


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
