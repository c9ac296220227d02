"""JSON schemas that clients send: what is refused before any engine sees it, and what a check costs."""

import asyncio
import threading
from typing import Any

import pytest

from app.parameters.kinds import PlacedSchema
from app.parameters.patterns import MAX_GROUP_DEPTH, MAX_PATTERN_LENGTH, PatternFault, pattern_size
from app.parameters.schemas import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_KNOWN,
    MAX_NODES,
    MAX_OPTIONAL,
    MAX_PATTERN_SIZE,
    SchemaChecker,
    Size,
    placed_schema,
    sizes_of,
)
from contract.errors import ApiError
from tests.unit.conftest import assert_error, chat


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"not": schema}
    return schema


def placed(*schemas: dict[str, Any]) -> list[PlacedSchema]:
    return [(f"tools.{index}", schema) for index, schema in enumerate(schemas)]


def properties(number: int, required: int = 0) -> dict[str, Any]:
    names = [f"p{index}" for index in range(number)]
    return {"type": "object", "properties": {name: {} for name in names}, "required": names[:required]}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "string"}}},
        {"type": "string", "pattern": r"^\p{L}+$"},
        {"type": "string", "format": "regex", "default": "["},
        {"enum": [1, "a", None]},
        {"properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}, "properties": {}}},
        {"default": {"pattern": "a{9999}", "$ref": "https://example.com"}, "examples": [{"pattern": "["}]},
        {"const": {"patternProperties": {"[": {}}}, "enum": [{"default": [{"pattern": "["}]}]},
        {
            "properties": {"a": {"$ref": "#/$defs/b"}, "c": {"$ref": "#"}},
            "default": {"pattern": "["},
            "$defs": {"b": {}},
        },
        nested(MAX_DEPTH),
        {"anyOf": [{}] * (MAX_NODES - 2)},
        properties(MAX_OPTIONAL),
        properties(MAX_OPTIONAL + 100, required=100),
    ],
)
async def test_a_schema_passes(schema: dict[str, Any]) -> None:
    await SchemaChecker().check(placed(schema))


@pytest.mark.parametrize(
    ("schema", "reported"),
    [
        ({"type": "nonsense"}, "`type`"),
        ({"type": "object", "properties": {"a": {"minimum": "x"}}}, "`properties.a.minimum`"),
        ({"required": "a"}, "`required`"),
        ({"required": [[]], "properties": {}}, "`required.0`"),
        ({"pattern": "["}, "not a regular expression"),
        ({"patternProperties": {"(": {}}}, "not a regular expression"),
        ({"$ref": "https://example.com/schema.json"}, "points out of it"),
        ({"$ref": "file:///etc/passwd"}, "points out of it"),
        ({"$dynamicRef": "https://example.com/schema.json"}, "`$dynamicRef` points out of it"),
        ({"items": {"$recursiveRef": "other.json#"}}, "`$recursiveRef` points out of it"),
        (nested(MAX_DEPTH + 1), "deeper than 32"),
        ({"description": "x" * MAX_BYTES}, f"larger than {MAX_BYTES}"),
        ({"anyOf": [{}] * 2500}, "more than 2000"),
        ({"enum": list(range(MAX_NODES))}, "more than 2000"),
        ({"const": [{"a": {}}] * (MAX_NODES // 2)}, "more than 2000"),
        ({"anyOf": [{"pattern": "|" * 1000}] * 9}, "longer than 8192"),
        ({"patternProperties": {f"{index}{'|' * 1000}": {} for index in range(9)}}, "longer than 8192"),
        (properties(MAX_OPTIONAL + 1), "more than 200 properties"),
        (properties(MAX_OPTIONAL + 100, required=99), "more than 200 properties"),
    ],
)
async def test_a_malformed_schema_is_a_422_that_says_where(schema: dict[str, Any], reported: str) -> None:
    with pytest.raises(ApiError) as caught:
        await SchemaChecker().check(placed({}, schema))
    assert (caught.value.status, caught.value.code, caught.value.param) == (422, "invalid_json_schema", "tools.1")
    assert reported in caught.value.message


COSTLY = {"pattern": "a{9999}"}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"default": COSTLY}},
        {"properties": {"properties": {"const": COSTLY}}, "$defs": {"enum": COSTLY}},
        {"$defs": {"default": COSTLY}},
        {"patternProperties": {"a": {"items": COSTLY}}},
        {"dependentSchemas": {"examples": COSTLY}},
        {"dependencies": {"const": COSTLY}},
        {"default": {"properties": {"a": {}}}, "unknown": COSTLY},
        {"$ref": "#/default", "default": COSTLY},
        {"properties": {"a": {"$ref": "#/examples/0"}}, "examples": [COSTLY]},
        {"allOf": [{"$ref": "#/properties/a/const"}], "properties": {"a": {"const": COSTLY}}},
        {"$ref": "#/$defs/a/default", "$defs": {"a": {"default": COSTLY}}},
        {"$ref": "#/$defs/a%2Fdefault", "$defs": {"a": {"default": COSTLY}}},
        {"$ref": "#here", "default": COSTLY | {"$anchor": "here"}},
        {"$dynamicRef": "#here", "default": COSTLY | {"$dynamicAnchor": "here"}},
        {"$ref": "#/unknown/properties", "unknown": {"properties": COSTLY}},
        {"$ref": "#/const", "const": {"$ref": "#/enum/0"}, "enum": [COSTLY]},
    ],
    ids=str,
)
async def test_what_only_looks_like_data_is_checked(schema: dict[str, Any]) -> None:
    """A property that is named as a keyword, and values that a reference makes a schema of."""
    with pytest.raises(ApiError, match="repetitions"):
        await SchemaChecker().check(placed(schema))


INTO_DATA: dict[str, Any] = {"properties": {"q": {"$ref": "#/$defs/x/default"}}}
TO_SCHEMA: dict[str, Any] = {"properties": {"q": {"$ref": "#/$defs/x"}}}


class TestReferencesOfOtherSchemas:
    """An engine may put the `$defs` of all tools into one document: a reference of one then leads into another."""

    @pytest.mark.parametrize("seen", [False, True])
    @pytest.mark.parametrize("first", [False, True])
    @pytest.mark.parametrize(
        ("data", "reported"),
        [
            ({"pattern": "a{999999999}"}, "repetitions"),
            ({"pattern": "a{9999}"}, "repetitions"),
            ({"pattern": "["}, "not a regular expression"),
            ({"$ref": "https://example.com"}, "points out of it"),
            (properties(MAX_OPTIONAL + 1), "more than 200 properties"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    async def test_data_of_one_is_checked_where_another_may_refer_to_it(
        self, data: dict[str, Any], reported: str, first: bool, seen: bool
    ) -> None:
        checker = SchemaChecker()
        holder: dict[str, Any] = {"$defs": {"x": {"default": data}}}
        if seen:
            await checker.check(placed(holder))
            await checker.check(placed(INTO_DATA))
        tools = [INTO_DATA, holder] if first else [holder, INTO_DATA]
        for _ in range(2):
            with pytest.raises(ApiError, match=reported) as caught:
                await checker.check(placed(*tools))
            assert caught.value.code == "invalid_json_schema"
            assert caught.value.param == f"tools.{tools.index(holder)}"
        await checker.check(placed(holder, TO_SCHEMA))

    async def test_patterns_in_the_data_of_all_count_together(self) -> None:
        checker = SchemaChecker()
        holders = [{"$defs": {f"x{index}": {"default": {"pattern": "a{5000}"}}}} for index in range(2)]
        await checker.check(placed(holders[0], INTO_DATA))
        await checker.check(placed(*holders, TO_SCHEMA))
        with pytest.raises(ApiError, match="repetitions"):
            await checker.check(placed(*holders, INTO_DATA))

    async def test_in_tools(self, client: Any, relay: Any) -> None:
        holder = {"$defs": {"x": {"default": {"pattern": "a{999999999}"}}}}

        async def call(other: dict[str, Any]) -> Any:
            functions = [{"name": "a", "parameters": other}, {"name": "b", "parameters": holder}]
            tools = [{"type": "function", "function": function} for function in functions]
            return await client.post("/v1/chat/completions", json=chat(tools=tools))

        refused = await call(INTO_DATA)
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "invalid_json_schema"
        assert relay.sent == []
        assert (await call(TO_SCHEMA)).status_code == 200


def test_what_is_no_object_is_a_400() -> None:
    with pytest.raises(ApiError) as caught:
        placed_schema([], "tools.0.function.parameters")
    assert (caught.value.status, caught.value.param) == (400, "tools.0.function.parameters")


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "size"),
        [
            ("", 0),
            ("abc", 3),
            (r"^\d{4}-\d{2}-\d{2}$", 12),
            ("^[a-z0-9._%+-]+@[a-z0-9.-]+\\.[a-z]{2,6}$", 12),
            ("(ab){10}", 20),
            ("(ab|c){10}?", 30),
            ("((a{2}){3}b){4,5}", 35),
            ("a{0}", 1),
            ("a{2}{3}", 6),
            ("(){9}", 9),
            (r"\p{L}{3}\u{12345}", 4),
            ("[]a{5}]", 7),  # JavaScript ends the class at once
            ("[^]a{5}]", 7),
            ("[a\\]{5}]b", 2),
            ("a{,5}", 5),  # text in JavaScript, a repetition elsewhere
            ("{}a{b}", 6),
            ("(?:a|(?<n>b))(?=c)", 3),
        ],
    )
    def test_repetitions_are_written_out(self, pattern: str, size: int) -> None:
        assert pattern_size(pattern) == size

    @pytest.mark.parametrize("pattern", ["(", "a)", "[a", "[", "\\", "(]("])
    def test_what_is_no_regular_expression(self, pattern: str) -> None:
        with pytest.raises(PatternFault, match="not a regular expression"):
            pattern_size(pattern)

    @pytest.mark.parametrize(
        ("pattern", "reported"),
        [
            ("a{10000000}", "repetitions"),
            ("a{999999999}", "repetitions"),
            ("(a{1000}){1000}", "repetitions"),
            ("a{1000}" * 9, "repetitions"),
            ("a{" + "9" * 900 + "}", "repetitions"),
            ("(" * 400 + ")" * 400, f"deeper than {MAX_GROUP_DEPTH}"),
            ("a" * (MAX_PATTERN_LENGTH + 1), f"longer than {MAX_PATTERN_LENGTH}"),
        ],
    )
    @pytest.mark.parametrize("place", ["pattern", "patternProperties"])
    async def test_a_costly_pattern_is_refused(self, pattern: str, reported: str, place: str) -> None:
        schema: dict[str, Any] = {place: pattern if place == "pattern" else {pattern: {}}}
        with pytest.raises(ApiError, match=reported) as caught:
            await SchemaChecker().check(placed({"properties": {"a": schema}}))
        assert caught.value.code == "invalid_json_schema"

    @pytest.mark.parametrize(
        "fields",
        [
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"pattern": "a{10000000}"}}}]},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {"pattern": "a{9999}"}},
                }
            },
        ],
    )
    async def test_in_chat_completions(self, client: Any, relay: Any, fields: dict[str, Any]) -> None:
        response = await client.post("/v1/chat/completions", json=chat(**fields))
        assert response.status_code == 422
        assert response.json()["error"]["code"] == "invalid_json_schema"
        assert relay.sent == []

    async def test_in_responses(self, client: Any, relay: Any) -> None:
        text = {"format": {"type": "json_schema", "name": "a", "schema": {"pattern": "(" * 400 + ")" * 400}}}
        response = await client.post("/v1/responses", json={"model": "alpha", "input": "hi", "text": text})
        assert_error(response, 422, "invalid_request_error", "invalid_json_schema", "text.format.schema")
        assert relay.sent == []


class TestTotals:
    """Of all schemas of one request."""

    @pytest.mark.parametrize(
        ("schema", "number"),
        [
            ({"description": "x" * (MAX_BYTES // 2)}, 2),
            ({"anyOf": [{}] * 99}, 20),
            ({"pattern": f"a{{{MAX_PATTERN_SIZE // 2 + 1}}}"}, 2),
        ],
        ids=["bytes", "nodes", "patterns"],
    )
    async def test_one_schema_passes_and_many_do_not(self, schema: dict[str, Any], number: int) -> None:
        checker = SchemaChecker()
        await checker.check(placed(schema))
        for _ in range(2):  # those that it knows already count as well
            with pytest.raises(ApiError, match="of a request") as caught:
                await checker.check(placed(*[schema] * number))
            assert caught.value.param == f"tools.{number - 1}"


class Measured:
    """Measures as the checker does by itself, and remembers what."""

    def __init__(self) -> None:
        self.schemas: list[PlacedSchema] = []
        self.threads: set[int] = set()

    def __call__(self, schemas: list[PlacedSchema]) -> list[Size]:
        self.schemas += schemas
        self.threads.add(threading.get_ident())
        return sizes_of(schemas)


class TestSeenBefore:
    async def test_a_schema_is_measured_once_and_not_on_the_event_loop(self) -> None:
        measured = Measured()
        checker = SchemaChecker(measured)
        tools = [{"title": f"tool {index}"} for index in range(20)]
        for _ in range(3):
            await checker.check(placed(*tools))
        await checker.check(placed(*tools, {"title": "another"}))
        assert [schema["title"] for _, schema in measured.schemas] == [tool["title"] for tool in tools] + ["another"]
        assert threading.get_ident() not in measured.threads

    async def test_a_bad_schema_is_not_remembered_as_a_good_one(self) -> None:
        checker = SchemaChecker()
        for _ in range(2):
            with pytest.raises(ApiError):
                await checker.check(placed({}, {"type": "nonsense"}))

    async def test_only_so_many_are_remembered(self) -> None:
        measured = Measured()
        checker = SchemaChecker(measured)
        first = placed({"title": "first"})
        await checker.check(first)
        for start in range(0, MAX_KNOWN, 1024):
            await checker.check(placed(*({"title": f"{start + index}"} for index in range(1024))))
        measured.schemas.clear()
        await checker.check(first)
        assert measured.schemas == first

    async def test_a_check_that_hangs_is_given_up_and_the_event_loop_goes_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.parameters.schemas.CHECK_SECONDS", 0.05)
        end = threading.Event()

        def hangs(schemas: list[PlacedSchema]) -> list[Size]:
            end.wait(30)
            return sizes_of(schemas)

        checker = SchemaChecker(hangs)
        checking = asyncio.ensure_future(checker.check(placed({})))
        await asyncio.sleep(0)
        assert not checking.done()
        with pytest.raises(ApiError) as caught:
            await checking
        end.set()
        assert caught.value.code == "overloaded"
