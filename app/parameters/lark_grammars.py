"""Lark grammars of custom tools' inputs: which can be used."""

from collections.abc import Iterable
from functools import lru_cache

from app.parameters.grammar_tree import (
    CharacterSet,
    Choice,
    Grammar,
    Literal,
    Node,
    Reference,
    Repetition,
    children,
    references,
    written_out,
)
from app.parameters.lark_reader import GrammarFault, Read, fault, read_lark
from app.parameters.schemas import MAX_PATTERN_SIZE

START = "start"


@lru_cache(maxsize=64)  # agents send the same grammar with every request
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
    sizes: dict[str, int] = {}
    for name in filter(Grammar.is_terminal, used):
        _measure(definition, read, name, sizes, ())
    for ignored in read.grammar.ignored:
        _refuse_rules(definition, read, ignored)
    size = sum(written_out(node, sizes) for node in [*used.values(), *read.grammar.ignored])
    if size > MAX_PATTERN_SIZE:
        raise GrammarFault(f"it is longer than {MAX_PATTERN_SIZE} characters with its repetitions written out")
    if START not in _ending(used):
        raise GrammarFault(f"nothing that `{START}` matches can end: a rule needs itself without another way out")
    return Grammar(used, read.grammar.ignored)


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


def _measure(definition: str, read: Read, name: str, sizes: dict[str, int], above: tuple[str, ...]) -> None:
    """Find how large a terminal is with those that it is made of; adds to `sizes`."""
    if name in sizes:
        return
    if name in above:
        raise fault(definition, read.places[name], f"the terminal `{name}` needs itself; only rules may")
    node = read.grammar.definitions[name]
    _refuse_rules(definition, read, node)
    for inner in references(node):
        _measure(definition, read, inner, sizes, (*above, name))
    sizes[name] = written_out(node, sizes)
    if sizes[name] > MAX_PATTERN_SIZE:
        raise GrammarFault(f"the terminal `{name}` is longer than {MAX_PATTERN_SIZE} characters when it is written out")


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
