"""JSON Schemas that clients send: bounded, well-formed, self-contained. Checked before any engine sees them."""

import enum
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jsonschema_rs
import orjson

from app.background.thread_calls import ThreadCalls
from app.parameters.kinds import PlacedSchema, wrong_type
from app.parameters.patterns import PatternFault, pattern_size
from contract.errors import ApiError

# Of all schemas of a request together.
MAX_BYTES = 64 * 1024
MAX_NODES = 2000
MAX_PATTERN_SIZE = 8192  # characters of their patterns, as they are and with their repetitions written out
# Of each.
MAX_DEPTH = 32
MAX_OPTIONAL = 200  # properties of one object; an engine's grammar needs seconds for more

# Keywords whose value is data, and those whose value has a schema under each name that the client chose.
DATA = frozenset({"const", "default", "enum", "examples"})
NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"})
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# References that lead to schemas whatever the names are. Any other may lead into data, which then is a schema as well:
# that of every schema of the request, since engines put the definitions of all tools into one document.
TO_DEFINITIONS = re.compile(r"#(/(\$defs|definitions)/[^/%~]+)?")

CHECK_SECONDS = 5.0  # a schema within the bounds needs milliseconds
MAX_KNOWN = 4096  # schemas, of which the size is kept
# Formats would be checked by compiling patterns.
META_SCHEMA = jsonschema_rs.Draft202012Validator(
    {"$ref": "https://json-schema.org/draft/2020-12/schema"}, validate_formats=False, offline=True
)


class Role(enum.Enum):
    """What an object or an array is to the schema that it is a part of."""

    SCHEMA = enum.auto()
    NAMES = enum.auto()  # a schema under each name
    DATA = enum.auto()


class SchemaFault(ValueError):
    """Why a schema cannot be used."""


class Size(NamedTuple):
    """What a schema adds to the totals of its request."""

    nodes: int  # objects, arrays, and the items of arrays
    patterns: int  # characters, with repetitions written out
    patterns_with_data: int  # the same, where a reference may lead into its data
    data_fault: str | None  # why it cannot be used there
    refers_anywhere: bool  # it has such a reference, which may lead into the other schemas of the request as well


def placed_schema(schema: Any, name: str) -> PlacedSchema:
    """`schema`, which stands at `name`, to be checked. Raises ApiError where it is no object."""
    if not isinstance(schema, dict):
        raise wrong_type(name, "an object: a JSON Schema")
    return name, schema


class SchemaChecker:
    """Checks the schemas of requests, new ones on a thread; those seen lately are known by their digest."""

    def __init__(self, measure: Callable[[list[PlacedSchema]], list[Size]] | None = None) -> None:
        self._measure = measure or sizes_of
        self._threads = ThreadCalls("the check of JSON schemas", CHECK_SECONDS)
        # Schemas that are good while no reference leads into their data; the longest unused first.
        self._known: OrderedDict[bytes, Size] = OrderedDict()

    async def check(self, schemas: Sequence[PlacedSchema]) -> None:
        """Raises ApiError `invalid_json_schema` where one cannot guide the output, or all together are too large."""
        digests = _digests(schemas)
        sizes = {digest: self._known[digest] for digest in digests if digest in self._known}
        new = {digest: one for digest, one in zip(digests, schemas, strict=True) if digest not in sizes}
        if new:
            sizes |= zip(new, await self._sizes(list(new.values())), strict=True)
        self._remember(sizes)
        with_data = any(size.refers_anywhere for size in sizes.values())
        nodes = patterns = 0
        for digest, (name, _) in zip(digests, schemas, strict=True):
            size = sizes[digest]
            if with_data and size.data_fault:
                raise _unusable(name, size.data_fault)
            nodes += size.nodes
            patterns += size.patterns_with_data if with_data else size.patterns
            try:
                _check_totals(nodes, patterns)
            except SchemaFault as fault:
                raise _unusable(name, str(fault)) from None

    async def _sizes(self, schemas: list[PlacedSchema]) -> list[Size]:
        try:
            return await self._threads.call(self._measure, schemas)
        except TimeoutError:
            message = "The JSON schemas of the request could not be checked in time. Retry after a pause."
            raise ApiError("overloaded", message) from None

    def _remember(self, sizes: dict[bytes, Size]) -> None:
        for digest, size in sizes.items():
            self._known[digest] = size
            self._known.move_to_end(digest)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def sizes_of(schemas: list[PlacedSchema]) -> list[Size]:
    """The size of each. Raises ApiError `invalid_json_schema` for the first that cannot be used."""
    sizes = []
    for name, schema in schemas:
        try:
            sizes.append(_size(schema))  # first, so that what is validated is bounded
            _validate(schema)
        except SchemaFault as fault:
            raise _unusable(name, str(fault)) from None
    return sizes


def _digests(schemas: Sequence[PlacedSchema]) -> list[bytes]:
    digests, size = [], 0
    for name, schema in schemas:
        text = orjson.dumps(schema)
        size += len(text)
        if size > MAX_BYTES:
            raise _unusable(name, f"the schemas of a request are larger than {MAX_BYTES} bytes together")
        digests.append(hashlib.sha256(text).digest())
    return digests


def _size(schema: dict[str, Any]) -> Size:
    nodes, patterns = 1, 0
    level: list[tuple[Any, Role]] = [(schema, Role.SCHEMA)]
    no_schemas: list[dict[str, Any]] = []  # unless a reference leads to one of them
    refers_anywhere = False
    for _ in range(MAX_DEPTH):
        deeper: list[tuple[Any, Role]] = []
        for container, role in level:
            parts = list(_parts(container, role))
            nodes += len(container) if isinstance(container, list) else len(parts)
            if isinstance(container, dict) and role is Role.SCHEMA:
                patterns += _check_object(container)
                refers_anywhere = refers_anywhere or _refers_anywhere(container)
            elif isinstance(container, dict):
                no_schemas.append(container)
            _check_totals(nodes, patterns)
            deeper += parts
        if not deeper:
            break
        level = deeper
    else:
        raise SchemaFault(f"it is nested deeper than {MAX_DEPTH} levels")
    patterns_with_data, data_fault = patterns, None
    try:
        for one in no_schemas:
            patterns_with_data += _check_object(one)
            _check_totals(nodes, patterns_with_data)
    except SchemaFault as fault:
        data_fault = str(fault)
    return Size(nodes, patterns, patterns_with_data, data_fault, refers_anywhere)


def _parts(container: Any, role: Role) -> Iterator[tuple[Any, Role]]:
    """The objects and arrays in an object or array, each with its role."""
    if isinstance(container, list):
        inner = Role.DATA if role is Role.DATA else Role.SCHEMA
        yield from ((value, inner) for value in container if isinstance(value, dict | list))
        return
    for key, value in container.items():
        if not isinstance(value, dict | list):
            continue
        if role is not Role.SCHEMA:
            yield value, Role.DATA if role is Role.DATA else Role.SCHEMA
        elif key in DATA:
            yield value, Role.DATA
        else:
            yield value, Role.NAMES if key in NAMED else Role.SCHEMA


def _refers_anywhere(node: dict[str, Any]) -> bool:
    references = (node.get(keyword) for keyword in REFERENCES)
    return any(isinstance(one, str) and not TO_DEFINITIONS.fullmatch(one) for one in references)


def _check_totals(nodes: int, patterns: int) -> None:
    if nodes > MAX_NODES:
        raise SchemaFault(
            f"the schemas of a request have more than {MAX_NODES} objects, arrays and items of arrays together"
        )
    if patterns > MAX_PATTERN_SIZE:
        fault = (
            f"the patterns of a request are longer than {MAX_PATTERN_SIZE} characters together, with their repetitions"
        )
        raise SchemaFault(f"{fault} written out; use `maxLength` for the length of a text")


def _check_object(node: dict[str, Any]) -> int:
    """The size of the patterns in one object of a schema, after the checks of what else may be in it."""
    for keyword in REFERENCES:
        reference = node.get(keyword)
        if isinstance(reference, str) and not reference.startswith("#"):
            raise SchemaFault(f"a `{keyword}` points out of it; only references that begin with # are followed")
    properties, required = node.get("properties"), node.get("required")
    if isinstance(properties, dict) and len(properties) > MAX_OPTIONAL:
        needed = {one for one in required if isinstance(one, str)} if isinstance(required, list) else set()
        if len(properties.keys() - needed) > MAX_OPTIONAL:
            raise SchemaFault(f"an object has more than {MAX_OPTIONAL} properties that are not in `required`")
    pattern_properties = node.get("patternProperties")
    found = [node.get("pattern"), *(pattern_properties if isinstance(pattern_properties, dict) else ())]
    patterns = [pattern for pattern in found if isinstance(pattern, str)]
    length = sum(map(len, patterns))
    _check_totals(0, length)  # before they are read
    try:
        return max(length, sum(map(pattern_size, patterns)))
    except PatternFault as fault:
        raise SchemaFault(str(fault)) from None


def _validate(schema: dict[str, Any]) -> None:
    try:
        META_SCHEMA.validate(schema)
    except jsonschema_rs.ValidationError as error:
        place = ".".join(map(str, error.instance_path))
        where = f" at `{place[:200]}`" if place else ""
        raise SchemaFault(f"it is not a JSON Schema{where}: the keyword's value has the wrong form") from None


def _unusable(name: str, fault: str) -> ApiError:
    return ApiError("invalid_json_schema", f"The JSON schema in `{name}` cannot be used: {fault}.", param=name)
