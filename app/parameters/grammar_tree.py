"""A grammar as a tree, whatever it was written in: texts, sets of characters, and what is built of them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

LAST = 0x10FFFF  # of the code points
SURROGATES = (0xD800, 0xDFFF)  # no characters


class Literal(NamedTuple):
    """One text."""

    text: str


class CharacterSet(NamedTuple):
    """Any one character of these ranges of code points, both ends included; they are in order and apart."""

    ranges: tuple[tuple[int, int], ...]


class Sequence(NamedTuple):
    items: tuple["Node", ...]


class Choice(NamedTuple):
    items: tuple["Node", ...]


class Repetition(NamedTuple):
    """`item`, `low` times or more, and no more than `high` times where there is such a limit."""

    item: "Node"
    low: int
    high: int | None


class Lexeme(NamedTuple):
    """A tree without references that stands in a rule as one terminal."""

    item: "Node"


class Reference(NamedTuple):
    """What a rule or a terminal of this name matches."""

    name: str


Node = Literal | CharacterSet | Sequence | Choice | Repetition | Lexeme | Reference


class Grammar(NamedTuple):
    """What can be reached from the rule `start`. Names of terminals are upper case, a leading underscore aside."""

    definitions: dict[str, Node]
    ignored: tuple[Node, ...] = ()  # may stand between any two terminals

    @staticmethod
    def is_terminal(name: str) -> bool:
        return name.lstrip("_")[:1].isupper()


def sequence(items: Iterable[Node]) -> Node:
    found = tuple(items)
    return found[0] if len(found) == 1 else Sequence(found)


def choice(items: Iterable[Node]) -> Node:
    found = tuple(items)
    return found[0] if len(found) == 1 else Choice(found)


def repetition(item: Node, low: int, high: int | None) -> Node:
    return Sequence(()) if high == 0 else Repetition(item, low, high)


def character_set(ranges: Iterable[tuple[int, int]], *, negated: bool = False) -> CharacterSet:
    """The set of ranges that may overlap and stand in any order; `negated`: of all other characters."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return CharacterSet(tuple(_others([*merged, SURROGATES]) if negated else merged))


def _others(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    after = 0
    for low, high in character_set(ranges).ranges:
        if after < low:
            yield after, low - 1
        after = high + 1
    if after <= LAST:
        yield after, LAST


def caseless(node: Node) -> Node:
    """A tree without references that matches in both cases what `node` does in one, of ASCII's letters."""
    match node:
        case Literal(text):
            return sequence(
                character_set([(ord(one.lower()),) * 2, (ord(one.upper()),) * 2]) if _has_cases(one) else Literal(one)
                for one in text
            )
        case CharacterSet(ranges):
            upper = [_shifted(pair, "A", "Z", 32) for pair in ranges]
            lower = [_shifted(pair, "a", "z", -32) for pair in ranges]
            return character_set([*ranges, *filter(None, upper), *filter(None, lower)])
        case Sequence(items):
            return Sequence(tuple(map(caseless, items)))
        case Choice(items):
            return Choice(tuple(map(caseless, items)))
        case Repetition(item, low, high):
            return Repetition(caseless(item), low, high)
    return node


def _has_cases(character: str) -> bool:
    return character.isascii() and character.isalpha()


def _shifted(pair: tuple[int, int], first: str, last: str, distance: int) -> tuple[int, int] | None:
    """The part of a range that lies between two letters, as the letters of the other case."""
    low, high = max(pair[0], ord(first)), min(pair[1], ord(last))
    return (low + distance, high + distance) if low <= high else None


def children(node: Node) -> tuple[Node, ...]:
    match node:
        case Sequence(items) | Choice(items):
            return items
        case Repetition(item) | Lexeme(item):
            return (item,)
    return ()


def references(node: Node) -> Iterator[str]:
    """The names that a tree refers to."""
    if isinstance(node, Reference):
        yield node.name
    for child in children(node):
        yield from references(child)


def written_out(node: Node, sizes: Mapping[str, int]) -> int:
    """How many characters and sets a tree has when its repetitions are written out; `sizes` has those of names."""
    match node:
        case Literal(text):
            return max(1, len(text))
        case Reference(name):
            return sizes.get(name, 1)
        case Repetition(item, low, high):
            return max(1, low, high or 0) * written_out(item, sizes)
    return sum(written_out(child, sizes) for child in children(node)) or 1


def written(node: Node, sizes: Mapping[str, int]) -> int:
    """How many characters and ranges of characters a tree is written with; `sizes` has those of terminals in it."""
    match node:
        case Literal(text):
            return max(1, len(text))
        case CharacterSet(ranges):
            return len(ranges)
        case Reference(name):
            return sizes.get(name, 1)
    return sum(written(child, sizes) for child in children(node)) or 1


def height(node: Node, heights: Mapping[str, int]) -> int:
    """How deep a tree is nested; `heights` has those of terminals in it."""
    if isinstance(node, Reference):
        return 1 + heights.get(node.name, 0)
    return 1 + max((height(child, heights) for child in children(node)), default=0)
