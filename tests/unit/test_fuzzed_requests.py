"""Legal requests with hostile values put into them, through the whole gateway: no answer is a failure of ours."""

import copy
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.config.service import parse_config
from app.gateway.application import Gateway
from app.keys import LOCAL_KEY, hash_key, public_id
from tests.sample_images import PNG, data_url
from tests.unit.conftest import client_of, config_args
from tests.unit.sample_requests import ENDPOINT, able, request_of
from tests.unit.test_hostile_requests import nested

EXAMPLES = 100  # for each endpoint
IMAGE = data_url(PNG)
SOURCE = {"type": "base64", "media_type": "image/png", "data": IMAGE.partition(",")[2]}
TOOL_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string", "pattern": "^a{2}$"}, "b": {"anyOf": [{"enum": [1, "x"]}, {"const": None}]}},
    "patternProperties": {"^x": {"$ref": "#/$defs/c"}},
    "$defs": {"c": {"type": "array", "minItems": 1}},
    "required": ["a"],
}
# Requests whose every place is worth a hostile value: the fields of rows that have a shape of their own.
SEEDS: dict[str, list[dict[str, Any]]] = {
    "chat": [
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "n"},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}}]},
                {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
                {"role": "tool", "content": "done", "tool_call_id": "c"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
        },
        {
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
            "stream": True,
            "stream_options": {"include_usage": True},
            "logit_bias": {"0": 1},
            "stop": ["a"],
            "metadata": {"a": "b"},
        },
    ],
    "responses": [
        {
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "content": []},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "a"}]},
            ],
            "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
            "tool_choice": {"type": "function", "name": "f"},
        },
        {
            "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}, "verbosity": "low"},
            "reasoning": {"effort": "low"},
            "include": ["reasoning.encrypted_content"],
            "max_tool_calls": 1,
        },
    ],
    "messages": [
        {
            "max_tokens": 2048,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
                {"role": "user", "content": [{"type": "image", "source": SOURCE}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "c", "name": "f", "input": {"a": [1]}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "image", "source": SOURCE}]},
                ]},
                {"role": "system", "content": "go on"},
                {"role": "user", "content": "go on"},
            ],
            "tools": [{"name": "f", "input_schema": SCHEMA, "strict": True}],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        },
        {
            "max_tokens": 2048,
            "system": [{"type": "text", "text": "be brief"}],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
            "stop_sequences": ["a"],
            "metadata": {"user_id": None},
        },
    ],
    "embeddings": [{"input": ["a", "b"]}, {"input": [[1, 2], [3]]}, {"input": [1, 2, 3], "dimensions": 4}],
    "rerank": [{"documents": ["a", {"text": "b", "title": "c"}], "top_n": 2}, {"return_documents": False}],
    "score": [{"text_1": ["a", "b"], "text_2": ["c", "d"]}, {"max_tokens_per_doc": 4}],
    "images": [{"prompt": "a", "size": "64x64", "n": 2, "quality": "low"}, {"stream": True, "partial_images": 1}],
    "edits": [
        {"image": [{"image_url": IMAGE}], "mask": {"image_url": IMAGE}, "size": "64x64", "strength": 0.5},
        {"image": IMAGE, "stream": True, "partial_images": 1},
    ],
    "variations": [{"n": 2}],
    "speech": [{"voice": {"id": "alloy"}, "speed": 1.5}, {"stream_format": "sse"}],
}  # fmt: skip
ODD: list[Any] = [
    None, True, 0, -1, 1.5, 2**63, 2**64, 10**30, 1e20, -1e300, 1e308, "", "a", "\0", "x" * 5000, "\u2028", "0x0",
    "9" * 400, [], [[]], {}, {"": {}}, [None], {"type": None}, {"type": []}, {"type": {}}, {"role": []}, nested(70),
    [{}] * 2500, {f"x{i}": i for i in range(300)}, {"pattern": "a{10000000}"}, {"pattern": "(" * 400 + ")" * 400},
    {"$ref": []}, {"$ref": "http://a"}, {"type": "function", "function": []},
]  # fmt: skip
EVERYWHERE: list[Any] = [True, -1, 1e20, "", [], {}, [{}], nested(70)]
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5)
WORDS = st.sampled_from(["type", "role", "content", "name", "id", "call_id", "tool_calls", "text", "properties", "x"])
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6
)
HOSTILE = st.sampled_from(list(map(json.dumps, ODD))).map(json.loads) | JSON


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything inside a JSON value."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*at, key)
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*at, key))


NUMBERS = st.sampled_from([0, -1, 1.5, 2**31, 2**63, 2**64, 10**30, 1e20, 1e308, -1e308, 5e-324])
STRINGS = st.sampled_from(["", "a", "\0", "x" * 5000, "[" * 100, "a{10000000}", "#/$defs/c", "\u2028"]) | st.text()


def like(value: Any) -> st.SearchStrategy[Any]:
    """Hostile values of the same type."""
    match value:
        case bool():
            return st.booleans()
        case int() | float():
            return NUMBERS
        case str():
            return STRINGS
        case list():
            longer = st.sampled_from([0, 2, 70, 5000]).map(lambda times: value * times)
            return longer | HOSTILE.map(lambda one: [*value, one])
        case dict():
            return st.tuples(WORDS | st.text(max_size=3), HOSTILE).map(lambda pair: value | {pair[0]: pair[1]})
        case _:
            return HOSTILE


def holder_of(request: dict[str, Any], way: list[Any]) -> Any:
    holder: Any = request
    for step in way:
        holder = holder[step]
    return holder


def rows(name: str) -> list[tuple[str]]:
    """The ways to the endpoint's parameters, and to one that is not known."""
    return [(row.name,) for row in ENDPOINT[name].table.rows if row.name != "model"] + [("x",)]


@st.composite
def hostile_requests(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """A legal request of the endpoint in which one or two places have another value, or none."""
    seed = draw(st.sampled_from(SEEDS[name]))
    request: dict[str, Any] = {"strict_params": False} | copy.deepcopy(request_of(name) | seed)
    for _ in range(draw(st.integers(1, 2))):
        inner = st.sampled_from(list(places(request)))
        *way, last = draw(st.sampled_from(rows(name)) | inner | inner | inner)
        holder = holder_of(request, way)
        change = draw(st.integers(0, 9))
        if way and change == 0:
            del holder[last]
        else:
            before = holder.get(last) if isinstance(holder, dict) else holder[last]
            holder[last] = draw(like(copy.deepcopy(before)) if change < 7 else HOSTILE)
    return request | {"model": draw(st.sampled_from(["alpha"] * 30 + [None, [], {}, 1]))}


# The same requests in every run.
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # what fails is not made smaller: that takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture
async def client(make_gateway: Callable[..., Gateway]) -> AsyncGenerator[httpx.AsyncClient]:
    """A client whose budget is counted and not spent."""
    budget = {"requests_per_minute": 10**9, "tokens_per_minute": 10**15}
    key = {"id": public_id(LOCAL_KEY), "sha256": hash_key(LOCAL_KEY), "budget": budget}
    async with client_of(make_gateway(parse_config(config_args(keys=[key])))) as client:
        yield client


@pytest.mark.parametrize("name", SEEDS)
@given(data=st.data())
@BOUNDED
async def test_json(client: Any, registry: Any, relay: Any, name: str, data: st.DataObject) -> None:
    registry.learn("alpha", able(name))
    await check(client, relay, name, data.draw(hostile_requests(name)))


@pytest.mark.parametrize("name", SEEDS)
async def test_each_place_with_each_hostile_value(client: Any, registry: Any, relay: Any, name: str) -> None:
    registry.learn("alpha", able(name))
    for seed in SEEDS[name]:
        whole = request_of(name) | seed | {"model": "alpha"}
        for *way, last in [*places(whole), *rows(name)]:
            for odd in EVERYWHERE:
                request = copy.deepcopy(whole)
                holder_of(request, way)[last] = odd
                await check(client, relay, name, request)


async def check(client: httpx.AsyncClient, relay: Any, name: str, request: dict[str, Any]) -> None:
    """The client's fault is the client's, and what an engine gets is JSON."""
    content = json.dumps(request).encode(errors="replace")
    response = await client.post(ENDPOINT[name].path, content=content)
    assert response.status_code < 500, content[:2000]
    if response.status_code == 200:
        assert orjson.loads(relay.sent[-1][2])


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name, seeds in SEEDS.items() for seed in seeds])
async def test_what_is_put_in_is_what_is_refused(client: Any, registry: Any, name: str, seed: dict[str, Any]) -> None:
    """The requests are legal before that."""
    registry.learn("alpha", able(name))
    response = await client.post(ENDPOINT[name].path, json=request_of(name) | seed | {"model": "alpha"})
    assert response.status_code == 200, response.text


FIELDS = [row.name for row in ENDPOINT["transcriptions"].table.rows if row.name not in ("file", "model")]
NAMES = st.sampled_from(FIELDS).flatmap(lambda name: st.sampled_from([name, f"{name}[]", f"{name}[a]", f"{name}["]))
TEXTS = HOSTILE.map(json.dumps) | st.sampled_from(["", "true", "TRUE", "word", "en", "1e999", "NaN", "[" * 2000])


@given(fields=st.lists(st.tuples(NAMES | st.text(max_size=4), TEXTS), max_size=4))
@BOUNDED
async def test_forms(client: Any, registry: Any, fields: list[tuple[str, str]]) -> None:
    registry.learn("alpha", able("transcriptions"))
    parts = [(name, (None, text.encode(errors="replace"))) for name, text in fields]
    files = [("model", (None, b"alpha")), *parts, ("file", ("a.wav", b"RIFF"))]
    assert (await client.post(ENDPOINT["transcriptions"].path, files=files)).status_code < 500


@given(
    cut=st.integers(0, 300), junk=st.binary(max_size=8) | st.sampled_from([b"[" * 5000, b'{"a":' * 5000, b"\\ud800"])
)
@BOUNDED
async def test_bytes(client: Any, cut: int, junk: bytes) -> None:
    body = json.dumps(request_of("chat") | {"model": "alpha"}).encode()
    content = body[:cut] + junk + body[cut:]
    assert (await client.post(ENDPOINT["chat"].path, content=content)).status_code < 500
