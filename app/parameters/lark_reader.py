"""Reads a grammar in Lark's language: one pass over its tokens, no deeper than its brackets may be."""

import re
from typing import NamedTuple

from app.parameters.grammar_tree import (
    Grammar,
    Lexeme,
    Literal,
    Node,
    Reference,
    caseless,
    character_set,
    choice,
    repetition,
    sequence,
)
from app.parameters.lark_common import COMMON
from app.parameters.patterns import PatternFault
from app.parameters.regex_tree import regex_tree

MAX_DEFINITIONS = 256
MAX_DEPTH = 32
MAX_TIMES = 1024
TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\f\r]+ | (?://|\#)[^\n]*)
    | (?P<line>\n)
    | (?P<name>_?[a-zA-Z][_a-zA-Z0-9]*)
    | "(?P<text>(?:\\.|[^"\\\n])*)"(?P<case>i?)
    | /(?P<regex>(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+)/(?P<flags>[a-z]*)
    | (?P<statement>%[a-z]*)
    | (?P<number>[0-9]{1,9})
    | (?P<mark>\.\.|->|[-?!+*~|()\[\]:.,{}])
    """,
    re.VERBOSE,
)
STRING_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "b": "\b", "\\": "\\", '"': '"', "'": "'", "/": "/"}
TIMES = {"*": (0, None), "+": (1, None), "?": (0, 1)}
STATEMENTS = ("%import", "%ignore")


class GrammarFault(Exception):
    """Why a grammar cannot be used, with the line and the column; the text is for the client."""


class Token(NamedTuple):
    kind: str
    text: str
    at: int  # its place in the definition
    extra: str = ""  # the flags of a regular expression or of a text


class Read(NamedTuple):
    grammar: Grammar  # all that is defined, whether it is used or not
    places: dict[str, int]  # where each name that is referred to stands first


def read_lark(definition: str) -> Read:
    """The grammar of a definition, whose names may still be undefined. Raises GrammarFault."""
    return _Reader(definition).read()


def fault(definition: str, at: int, what: str) -> GrammarFault:
    """Says where in a definition something is wrong."""
    line = definition.count("\n", 0, at) + 1
    return GrammarFault(f"line {line}, column {at - definition.rfind(chr(10), 0, at)}: {what}")


class _Reader:
    def __init__(self, definition: str) -> None:
        self._definition = definition
        self._tokens = self._split()
        self._next = 0
        self._depth = 0
        self._definitions: dict[str, Node] = {}
        self._ignored: list[Node] = []
        self._places: dict[str, int] = {}

    def read(self) -> Read:
        while True:
            while self._take("line"):
                pass
            token = self._look()
            if token.kind == "end":
                return Read(Grammar(self._definitions, tuple(self._ignored)), self._places)
            if token.kind == "statement":
                self._statement()
            else:
                self._define()
            if self._look().kind not in ("line", "end"):
                raise self._wrong(self._look(), "a rule, a terminal or the end of the line has to follow")

    def _split(self) -> list[Token]:
        """The tokens; none of those that only part others, and no end of a line that an alternative goes on after."""
        tokens: list[Token] = []
        at = 0
        while at < len(self._definition):
            match = TOKEN.match(self._definition, at)
            if match is None:
                shown = self._definition[at]
                raise fault(self._definition, at, f"`{shown}` cannot be read; is a text or an expression not closed?")
            kind = match.lastgroup or ""
            kind = {"case": "text", "flags": "regex"}.get(kind, kind)
            text = match[kind]
            if kind != "blank":
                if text == "|":
                    while tokens and tokens[-1].kind == "line":
                        tokens.pop()
                tokens.append(Token(kind, text, at, match["case"] or match["flags"] or ""))
            at = match.end()
        return [*tokens, Token("end", "", at)]

    def _look(self) -> Token:
        return self._tokens[self._next]

    def _take(self, kind: str, *texts: str) -> Token | None:
        """The next token, if it is of this kind and one of these texts."""
        token = self._look()
        if token.kind != kind or (texts and token.text not in texts):
            return None
        self._next += 1
        return token

    def _need(self, what: str, kind: str, *texts: str) -> Token:
        token = self._take(kind, *texts)
        if token is None:
            raise self._wrong(self._look(), f"{what} has to stand here")
        return token

    def _wrong(self, token: Token, what: str) -> GrammarFault:
        return fault(self._definition, token.at, what)

    def _statement(self) -> None:
        statement = self._need("a statement", "statement")
        if statement.text not in STATEMENTS:
            raise self._wrong(statement, f"`{statement.text}` is not supported; legal are {' and '.join(STATEMENTS)}")
        if statement.text == "%ignore":
            self._ignored.append(self._options())
            return
        library = self._need("the name `common`", "name")
        if library.text != "common":
            raise self._wrong(library, "only terminals of `common` can be imported")
        if self._take("mark", "."):
            name = self._need("a terminal's name", "name")
            alias = self._need("a terminal's name", "name") if self._take("mark", "->") else name
            self._import(name, alias)
            return
        self._need("`.` or `(`", "mark", "(")
        while True:
            name = self._need("a terminal's name", "name")
            self._import(name, name)
            if self._need("`,` or `)`", "mark", ",", ")").text == ")":
                return

    def _import(self, name: Token, alias: Token) -> None:
        if name.text not in COMMON:
            raise self._wrong(name, f"`common` has no `{name.text}` here; it has {', '.join(COMMON)}")
        self._add(alias, regex_tree(COMMON[name.text]))

    def _define(self) -> None:
        marks = 0
        while self._take("mark", "?", "!"):  # of the tree of a parse, as are aliases
            marks += 1
        name = self._need("the name of a rule or a terminal", "name")
        if self._take("mark", "."):
            self._take("mark", "-")
            self._need("a priority", "number")
        if self._look().text == "{":
            raise self._wrong(self._look(), "templates are not supported")
        self._need(f"`:` behind `{name.text}`", "mark", ":")
        self._add(name, self._options())

    def _add(self, name: Token, node: Node) -> None:
        if name.text in self._definitions:
            raise self._wrong(name, f"`{name.text}` is defined twice")
        if len(self._definitions) == MAX_DEFINITIONS:
            raise self._wrong(name, f"there are more than {MAX_DEFINITIONS} rules and terminals")
        self._definitions[name.text] = node

    def _options(self) -> Node:
        """Alternatives, each with an alias or not."""
        options = [self._items()]
        while True:
            if self._take("mark", "->"):
                self._need("an alias", "name")
            self._skip_lines()
            if not self._take("mark", "|"):
                return choice(options)
            options.append(self._items())

    def _skip_lines(self) -> None:
        while self._depth and self._take("line"):
            pass

    def _items(self) -> Node:
        items = []
        self._skip_lines()
        while (item := self._item()) is not None:
            items.append(item)
            self._skip_lines()
        return sequence(items)

    def _item(self) -> Node | None:
        node = self._atom()
        if node is None:
            return None
        if mark := self._take("mark", *TIMES):
            return repetition(node, *TIMES[mark.text])
        if self._take("mark", "~"):
            first = self._need("a number", "number")
            last = self._need("a number", "number") if self._take("mark", "..") else first
            if not int(first.text) <= int(last.text) <= MAX_TIMES:
                raise self._wrong(first, f"a number of repetitions has to rise, to {MAX_TIMES} at most")
            return repetition(node, int(first.text), int(last.text))
        if self._look().text == "{":
            raise self._wrong(self._look(), "`{` cannot stand here; repetitions are written `~ 2` or `~ 2..5`")
        return node

    def _atom(self) -> Node | None:
        token = self._look()
        match token.kind, token.text:
            case "mark", "(" | "[":
                return self._group()
            case "name", _:
                self._next += 1
                self._places.setdefault(token.text, token.at)
                return Reference(token.text)
            case "text", _:
                self._next += 1
                return self._range(token) if self._take("mark", "..") else self._literal(token)
            case "regex", pattern:
                self._next += 1
                try:
                    return Lexeme(regex_tree(pattern, token.extra, is_whole=False))
                except PatternFault as found:
                    raise self._wrong(token, f"a regular expression cannot be used: {found}") from None
        return None

    def _group(self) -> Node:
        opened = self._need("a bracket", "mark")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(opened, f"brackets are nested deeper than {MAX_DEPTH}")
        inside = self._options()
        closing = ")" if opened.text == "(" else "]"
        if not self._take("mark", closing):
            raise self._wrong(opened, f"no `{closing}` closes this bracket")
        self._depth -= 1
        return inside if opened.text == "(" else repetition(inside, 0, 1)

    def _literal(self, token: Token) -> Node:
        literal = Literal(STRING_ESCAPE.sub(lambda found: self._escaped(found, token), token.text))
        return Lexeme(caseless(literal)) if token.extra else literal

    def _escaped(self, escape: re.Match[str], token: Token) -> str:
        code = escape[1] or escape[2] or escape[3]
        try:
            character = chr(int(code, 16)) if code else ESCAPES[escape[4]]
            character.encode()
        except (KeyError, ValueError, OverflowError):
            raise self._wrong(token, f"`{escape[0]}` is no escape of a text here") from None
        return character

    def _range(self, first: Token) -> Node:
        last = self._need("the range's last character, a text,", "text")
        low, high = (self._literal(token) for token in (first, last))
        if not (isinstance(low, Literal) and isinstance(high, Literal)) or {len(low.text), len(high.text)} != {1}:
            raise self._wrong(first, "a range is of two texts of one character each")
        if low.text > high.text:
            raise self._wrong(first, "a range has to rise")
        return character_set([(ord(low.text), ord(high.text))])
