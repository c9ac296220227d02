"""Lark grammars of custom tools' inputs: which can be used."""

from collections.abc import Iterable
from typing import NamedTuple

from app.parameters.grammar_tree import (
    CharacterSet,
    Choice,
    Grammar,
    Literal,
    Node,
    Reference,
    Repetition,
    children,
    height,
    references,
    written,
    written_out,
)
from app.parameters.lark_reader import GrammarFault, Read, fault, read_lark
from app.parameters.schemas import MAX_PATTERN_SIZE

START = "start"
# How deep trees of grammars may be, within what llguidance bears: it recurses on the stack, through references too.
MAX_HEIGHT = 100  # of a terminal with those that it is made of, which are one expression
MAX_HEIGHTS = 1200  # of all together, without references


class Terminal(NamedTuple):
    """What a terminal is with those that it is made of in their places."""

    written_out: int  # with its repetitions
    written: int
    height: int


class _Terminals(dict[str, Terminal]):
    def of(self, part: int) -> dict[str, int]:
        """One of the measures, by the names."""
        return {name: one[part] for name, one in self.items()}


def lark_grammar(definition: str) -> Grammar:
    """What the rule `start` of a definition needs. Raises GrammarFault."""
    if len(definition) > MAX_PATTERN_SIZE:
        raise GrammarFault(f"it is longer than {MAX_PATTERN_SIZE} characters")
    if "\0" in definition:
        raise GrammarFault("it has a character of the code 0")
    read = read_lark(definition)
    if START not in read.grammar.definitions:
        raise GrammarFault(f"it has no rule `{START}`")
    used = _used(definition, read)
    terminals = _Terminals()
    for name in filter(Grammar.is_terminal, used):
        _measure(definition, read, name, terminals, ())
    for ignored in read.grammar.ignored:
        _refuse_rules(definition, read, ignored)
    _bound(used.values(), read.grammar.ignored, terminals)
    if START not in _ending(used):
        raise GrammarFault(f"nothing that `{START}` matches can end: a rule needs itself without another way out")
    return Grammar(used, read.grammar.ignored)


def _bound(definitions: Iterable[Node], ignored: tuple[Node, ...], terminals: _Terminals) -> None:
    """Refuse what is too large for the engine, all together."""
    nodes = [*definitions, *ignored]
    sizes, written_sizes, heights = (terminals.of(part) for part in range(3))
    if sum(written_out(node, sizes) for node in nodes) > MAX_PATTERN_SIZE:
        raise GrammarFault(f"it is longer than {MAX_PATTERN_SIZE} characters with its repetitions written out")
    if sum(written(node, written_sizes) for node in nodes) > MAX_PATTERN_SIZE:
        what = f"characters and ranges of characters with the terminals written out; legal are {MAX_PATTERN_SIZE}"
        raise GrammarFault(f"it has too many {what}")
    deepest = max([*(height(node, {}) for node in definitions), *(height(node, heights) for node in ignored)])
    if deepest > MAX_HEIGHT:
        raise GrammarFault(f"a rule, or what is ignored, is nested deeper than {MAX_HEIGHT}")
    if sum(height(node, {}) for node in nodes) > MAX_HEIGHTS:
        raise GrammarFault(f"the depths of its rules and terminals are more than {MAX_HEIGHTS} together; nest less")


def _used(definition: str, read: Read) -> dict[str, Node]:
    """The definitions that `start` and what is ignored refer to, in the order in which they do."""
    definitions, used = read.grammar.definitions, {}
    waiting = [START, *(name for node in read.grammar.ignored for name in references(node))]
    while waiting:
        name = waiting.pop(0)
        if name in used:
            continue
        if name not in definitions:
            raise fault(definition, read.places[name], f"`{name}` is not defined")
        used[name] = definitions[name]
        waiting += references(used[name])
    return used


def _refuse_rules(definition: str, read: Read, node: Node) -> None:
    for name in references(node):
        if not Grammar.is_terminal(name):
            raise fault(definition, read.places[name], f"`{name}` is a rule, and a terminal has terminals only")


def _measure(definition: str, read: Read, name: str, terminals: _Terminals, above: tuple[str, ...]) -> None:
    """Measure a terminal, after those that it is made of."""
    if name in terminals:
        return
    if name in above:
        raise fault(definition, read.places[name], f"the terminal `{name}` needs itself; only rules may")
    too_deep = (
        f"the terminal `{(above or (name,))[0]}` is nested deeper than {MAX_HEIGHT} with those that it is made of"
    )
    if len(above) == MAX_HEIGHT:
        raise GrammarFault(too_deep)
    node = read.grammar.definitions[name]
    _refuse_rules(definition, read, node)
    for inner in references(node):
        _measure(definition, read, inner, terminals, (*above, name))
    sizes = written_out(node, terminals.of(0)), written(node, terminals.of(1)), height(node, terminals.of(2))
    terminals[name] = measured = Terminal(*sizes)
    if max(measured.written_out, measured.written) > MAX_PATTERN_SIZE:
        raise GrammarFault(f"the terminal `{name}` is longer than {MAX_PATTERN_SIZE} characters when it is written out")
    if measured.height > MAX_HEIGHT:
        raise GrammarFault(too_deep)


def _ending(definitions: dict[str, Node]) -> set[str]:
    """The names of which something that they match ends."""
    found: set[str] = set()
    while more := {name for name, node in definitions.items() if name not in found and _ends(node, found)}:
        found |= more
    return found


def _ends(node: Node, ending: Iterable[str]) -> bool:
    match node:
        case Literal() | CharacterSet():
            return True
        case Reference(name):
            return name in ending
        case Repetition(_, 0, _):
            return True
        case Choice(items):
            return any(_ends(item, ending) for item in items)
    return all(_ends(child, ending) for child in children(node))
