"""The gateway's own behaviour: order of checks, headers, bodies, failures of its own."""

import asyncio
import gc
import json
import uuid
from typing import Any

import orjson
import pytest

from app.config.service import parse_config
from app.gateway.call import Call
from app.http.stall_timer import ReaderStalled
from contract.errors import ApiError
from contract.profile import Profile
from contract.protocol import EVENT_STREAM, ResponseHead, ResponseTail
from tests.unit.conftest import assert_error, chat, client_of, config_args

CHAT = "/v1/chat/completions"


async def test_a_chat_request_reaches_its_model_with_its_request_id(client: Any, relay: Any) -> None:
    response = await client.post(CHAT, json=chat(temperature=0.5))
    assert response.status_code == 200
    model_id, head, body = relay.sent[0]
    assert model_id == "alpha"
    assert head.route == CHAT
    assert head.request_id == response.headers["x-request-id"]
    assert json.loads(body) == chat(temperature=0.5)
    assert float(response.headers["x-gateway-overhead-ms"]) < 1000
    assert relay.answers[0].closed


@pytest.mark.parametrize("path", [CHAT, "/v1/alpha/chat/completions"])
async def test_a_large_body_is_parsed_once_and_written_once(
    client: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    parsed: list[Any] = []
    written: list[Any] = []
    loads, dumps = orjson.loads, orjson.dumps

    def noted_loads(text: Any) -> Any:
        parsed.append(text)
        return loads(text)

    def noted_dumps(value: Any, **options: Any) -> bytes:
        written.append(value)
        return dumps(value, **options)

    monkeypatch.setattr(orjson, "loads", noted_loads)
    monkeypatch.setattr(orjson, "dumps", noted_dumps)
    text = "The lighthouse keeper wrote down the weather. " * 5_000
    response = await client.post(path, json=chat(messages=[{"role": "user", "content": text}]))
    assert response.status_code == 200
    assert [len(one) > len(text) for one in parsed] == [True]
    assert sum(len(dumps(one)) > len(text) for one in written) == 1


@pytest.mark.parametrize(
    "request_of", [chat(), chat(stream=True), chat(temperature="much")], ids=["whole", "streamed", "refused"]
)
async def test_a_request_that_was_answered_leaves_nothing_for_the_search_for_garbage(
    client: Any, relay: Any, request_of: dict[str, Any]
) -> None:
    """Its body and all that Serve has of it would wait for the next search, and each search holds requests up."""
    if request_of.get("stream"):
        relay.items = [ResponseHead(200, EVENT_STREAM), b"data: {}\n\n", ResponseTail()]
    await client.post(CHAT, json=request_of)
    gc.collect()
    gc.disable()
    try:
        await client.post(CHAT, json=request_of)
        assert [one for one in gc.get_objects() if isinstance(one, Call)] == []
    finally:
        gc.enable()


async def test_null_means_absent_and_engine_private_fields_never_reach_the_engine(client: Any, relay: Any) -> None:
    await client.post(
        CHAT, json=chat(user=None, stream_options=None, priority=1, cache_salt="x", kv_transfer_params={})
    )
    assert json.loads(relay.sent[0][2]) == chat()


@pytest.mark.parametrize("content_type", ["text/event-stream", "text/event-stream; charset=utf-8"])
async def test_events_are_relayed_as_events_whatever_stands_behind_their_type(
    client: Any, relay: Any, content_type: str
) -> None:
    relay.items = [ResponseHead(200, content_type), b"data: 1\n\n", ResponseTail()]
    response = await client.post(CHAT, json=chat(stream=True))
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    relay.items = [ResponseHead(200, content_type), b"data: 1\n\n"]
    assert '"code":"upstream_error"' in (await client.post(CHAT, json=chat(stream=True))).text


class TestHeaders:
    async def test_a_uuid_of_the_client_is_kept(self, client: Any) -> None:
        mine = str(uuid.uuid4())
        response = await client.get("/health", headers={"x-request-id": mine})
        assert response.headers["x-request-id"] == mine

    @pytest.mark.parametrize("header", ["", "abc", "1" * 36, "not-a-uuid" * 50])
    async def test_any_other_request_id_is_replaced(self, client: Any, header: str) -> None:
        response = await client.get("/health", headers={"x-request-id": header})
        assert uuid.UUID(response.headers["x-request-id"]).version == 4

    async def test_a_request_id_that_is_no_uuid_is_echoed_as_the_client_s_own(self, client: Any) -> None:
        response = await client.get("/health", headers={"x-request-id": "order 42"})
        assert response.headers["x-client-request-id"] == "order 42"
        response = await client.get("/health", headers={"x-request-id": "a", "x-client-request-id": "b"})
        assert response.headers["x-client-request-id"] == "b"
        for bad in ("x" * 129, "café"):
            response = await client.get("/health", headers={"x-request-id": bad.encode("latin-1")})
            assert "x-client-request-id" not in response.headers

    async def test_a_client_request_id_is_echoed_up_to_512_printable_characters(self, client: Any) -> None:
        response = await client.get("/v1/nowhere", headers={"x-client-request-id": "order 42"})
        assert response.headers["x-client-request-id"] == "order 42"
        for bad in ("x" * 513, "café"):
            response = await client.get("/health", headers={"x-client-request-id": bad.encode("latin-1")})
            assert "x-client-request-id" not in response.headers


class TestOrderOfChecks:
    """401, then the route, then the size, then the JSON, then the model, then the parameters."""

    bad_body = b"x" * 200

    @pytest.fixture
    def small(self, make_gateway: Any) -> Any:
        return make_gateway(parse_config(config_args(limits={"max_body_bytes": 100})))

    async def test_no_key_comes_before_an_unknown_route(self, small: Any) -> None:
        async with client_of(small, key=None) as client:
            response = await client.post("/v1/nowhere", content=self.bad_body)
        assert_error(response, 401, "authentication_error", "invalid_api_key")

    async def test_a_route_that_is_not_under_v1_needs_a_key_too(self, small: Any) -> None:
        async with client_of(small, key=None) as client:
            response = await client.post("/v2/rerank", content=self.bad_body)
        assert_error(response, 401, "authentication_error", "invalid_api_key")

    async def test_an_unknown_route_comes_before_the_size(self, small: Any) -> None:
        async with client_of(small) as client:
            response = await client.post("/v1/nowhere", content=self.bad_body)
        assert_error(response, 404, "not_found_error", "unknown_url")

    async def test_a_wrong_method_comes_before_the_size(self, small: Any) -> None:
        async with client_of(small) as client:
            response = await client.put(CHAT, content=self.bad_body)
        assert_error(response, 405, "invalid_request_error", "method_not_allowed")
        assert response.headers["allow"] == "POST"

    async def test_the_size_comes_before_the_json(self, small: Any) -> None:
        async with client_of(small) as client:
            response = await client.post(CHAT, content=self.bad_body)
        assert_error(response, 413, "invalid_request_error", "request_too_large")

    async def test_the_json_comes_before_the_model(self, client: Any) -> None:
        response = await client.post(CHAT, content=b'{"model": "gamma",')
        assert_error(response, 400, "invalid_request_error", "invalid_json")

    async def test_the_model_comes_before_the_messages(self, client: Any) -> None:
        response = await client.post(CHAT, json={"model": "gamma"})
        assert_error(response, 404, "not_found_error", "model_not_found", "model")

    async def test_the_messages_come_before_the_engine(self, client: Any, relay: Any) -> None:
        response = await client.post(CHAT, json={"model": "alpha"})
        assert_error(response, 400, "invalid_request_error", "missing_required_parameter", "messages")
        assert not relay.sent


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("/v1/chat/completion", "POST /v1/chat/completions"),
        ("/v1/embedding", "POST /v1/embeddings"),
        ("/v1/beta/response", "POST /v1/responses"),
        ("/ready/", "GET /ready"),
    ],
)
async def test_an_unknown_route_is_told_the_nearest_one(client: Any, path: str, nearest: str) -> None:
    response = await client.post(path)
    assert_error(response, 404, "not_found_error", "unknown_url")
    assert f"POST {path}. The nearest is {nearest}." in response.json()["error"]["message"]


class TestBody:
    @pytest.mark.parametrize(
        "content",
        [b"", b"[]", b'"text"', b"null", b"{", b'{"a": NaN}', b'{"a": Infinity}', b"\xff\xfe", b'{"a": "\xff"}',
         b'{"a": "\\ud800"}', b"[" * 1000, b'{"a":' * 1000, b"\xef\xbb\xbf{}",
         b'{"n": 1' + b"0" * 400 + b"}", b'{"n": 1e400}'],
    )  # fmt: skip
    async def test_a_body_that_is_no_json_object_is_a_400(self, client: Any, content: bytes) -> None:
        assert_error(await client.post(CHAT, content=content), 400, "invalid_request_error", "invalid_json")

    async def test_a_body_over_the_limit_is_refused_while_it_streams_in(self, make_gateway: Any) -> None:
        taken = 0

        async def endless() -> Any:
            nonlocal taken
            while True:
                taken += 1
                yield b"x" * 60

        gateway = make_gateway(parse_config(config_args(limits={"max_body_bytes": 100})))
        async with client_of(gateway) as client:
            response = await client.post(CHAT, content=endless())
        assert_error(response, 413, "invalid_request_error", "request_too_large")
        assert taken <= 3

    async def test_of_a_key_that_stands_there_twice_the_last_counts(self, client: Any, relay: Any) -> None:
        body = json.dumps(chat()).encode().replace(b'{"model"', b'{"model": "beta", "model"', 1)
        assert (await client.post(CHAT, content=body)).status_code == 200
        assert relay.sent[0][0] == "alpha"

    async def test_a_huge_integer_is_clamped(self, client: Any, relay: Any) -> None:
        response = await client.post(CHAT, content=json.dumps(chat(n=10**30)).encode())
        assert response.headers["x-param-adjustments"] == 'n;action=clamp;from="' + str(int(1e30)) + '";to=128'
        assert json.loads(relay.sent[0][2])["n"] == 128

    async def test_a_compressed_body_is_refused(self, client: Any) -> None:
        response = await client.post(CHAT, content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
        assert_error(response, 400, "invalid_request_error", "unsupported_content_encoding")


class TestShape:
    @pytest.mark.parametrize(
        ("changes", "code", "param"),
        [
            ({"model": 5}, "invalid_type", "model"),
            ({"messages": "hi"}, "invalid_type", "messages"),
            ({"messages": []}, "invalid_value", "messages"),
            ({"messages": ["hi"]}, "invalid_type", "messages.0"),
            ({"messages": [{"content": "hi"}]}, "missing_required_parameter", "messages.0.role"),
            ({"messages": [{"role": "nobody", "content": "hi"}]}, "invalid_value", "messages.0.role"),
            ({"messages": [{"role": "user", "content": 5}]}, "invalid_type", "messages.0.content"),
            ({"stream": "yes"}, "invalid_type", "stream"),
            ({"stream": True, "stream_options": []}, "invalid_type", "stream_options"),
            ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages.0.content"),
            (
                {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
                "invalid_value",
                "messages.0.content.0.type",
            ),
            (
                {"messages": [{"role": "tool", "content": "1", "tool_call_id": "x"}]},
                "invalid_value",
                "messages.0.tool_call_id",
            ),
            ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
        ],
    )
    async def test_what_is_no_chat_request_is_a_400(self, client: Any, changes: Any, code: str, param: str) -> None:
        assert_error(await client.post(CHAT, json=chat(**changes)), 400, "invalid_request_error", code, param)


class TestFailures:
    async def test_an_error_of_the_engine_is_passed_on(self, client: Any, relay: Any) -> None:
        relay.items = [ApiError("overloaded", "busy", retry_after=7)]
        response = await client.post(CHAT, json=chat())
        assert_error(response, 503, "server_error", "overloaded")
        assert response.headers["retry-after"] == "7"

    async def test_a_fault_of_ours_is_a_500_that_names_nothing(self, client: Any, relay: Any) -> None:
        async def broken(*_: Any) -> None:
            raise RuntimeError("/secret/path")

        relay.send = broken
        response = await client.post(CHAT, json=chat())
        assert_error(response, 500, "server_error", "internal_error")
        assert "secret" not in response.text

    async def test_a_client_that_leaves_closes_the_answer(self, make_gateway: Any, relay: Any) -> None:
        relay.items = [ResponseHead(200), b"data: 1\n\n"]
        written = asyncio.Event()

        async def receive() -> Any:
            return {"type": "http.request", "body": json.dumps(chat(stream=True)).encode()}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                written.set()
                await asyncio.sleep(60)  # a client that reads no more

        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [(b"authorization", KEY)], "client": CLIENT}
        task = asyncio.create_task(make_gateway()(scope, receive, send))
        await written.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert relay.answers[0].closed

    @pytest.mark.parametrize(
        "items",
        [[ResponseHead(200, EVENT_STREAM), b"data: 1\n\n", ResponseTail()], [ResponseHead(200, body=b"{}")]],
        ids=["a stream", "a whole answer"],
    )
    async def test_a_client_that_takes_nothing_is_cut_and_recorded(
        self, make_gateway: Any, relay: Any, log_lines: list[bytes], items: list[Any]
    ) -> None:
        relay.items = items

        async def receive() -> Any:
            return {"type": "http.request", "body": json.dumps(chat(stream=True)).encode()}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [(b"authorization", KEY)], "client": CLIENT}
        gateway = make_gateway(parse_config(config_args(limits={"write_stall_timeout_s": 0.05})))
        with pytest.raises(ReaderStalled):
            await gateway(scope, receive, send)
        (line,) = map(json.loads, log_lines)
        assert (line["status"], line["reason"]) == (200, "reader_stalled")
        assert relay.answers[0].closed


async def test_a_websocket_is_closed(make_gateway: Any) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await make_gateway()({"type": "websocket"}, None, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]


KEY = b"Bearer sk-portico-local0000000-" + b"0" * 43
CLIENT = ("127.0.0.1", 50000)


async def test_what_the_model_cannot_is_dropped_and_said(client: Any, registry: Any, relay: Any) -> None:
    """Such as shortening vectors, on a model that is not Matryoshka."""
    lacks = {"dimensions": "the model's vectors cannot be shortened"}
    limits = {"context_length": 256, "dimensions": 64}
    registry.learn("alpha", Profile("sentence-transformers", frozenset({"embeddings"}), lacks, limits))
    response = await client.post("/v1/embeddings", json={"model": "alpha", "input": "a fox", "dimensions": 16})
    assert response.headers["x-param-adjustments"] == f'dimensions;action=drop;reason="{lacks["dimensions"]}"'
    assert "dimensions" not in json.loads(relay.sent[0][2])


@pytest.mark.parametrize(
    "tokens", [[1] * 300_001, [[1] * 200_000, [2] * 100_001]], ids=["in one array", "in several arrays"]
)
async def test_too_many_token_ids_are_counted_and_not_looked_at(
    client: Any, registry: Any, relay: Any, tokens: list[Any]
) -> None:
    registry.learn("alpha", Profile("sentence-transformers", frozenset({"embeddings"}), {}, {"context_length": 256}))
    response = await client.post("/v1/embeddings", json={"model": "alpha", "input": tokens})
    assert_error(response, 422, "invalid_request_error", "context_length_exceeded", "input")
    assert relay.sent == []
