"""Anthropic's routes at the gateway: its key header, its envelope of every error, its streams that fail."""

import json
from typing import Any

import httpx
import pytest

from app.config.service import parse_config
from app.keys import LOCAL_KEY, hash_key, public_id
from app.upstream.registry import Readiness
from contract.errors import ApiError, upstream_error
from contract.protocol import EVENT_STREAM, ResponseHead, ResponseTail
from tests.unit.conftest import SCOPED_KEY, assert_error, client_of, config_args

MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
ANSWER = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def message(**changes: Any) -> dict[str, Any]:
    return {"model": "alpha", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]} | changes


def assert_anthropic_error(response: httpx.Response, status: int, kind: str) -> str:
    """The response is an error in Anthropic's envelope. Returns its message."""
    body = response.json()
    assert set(body) == {"type", "error", "request_id"}
    assert set(body["error"]) == {"type", "message"}
    assert (response.status_code, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert response.headers["content-type"] == "application/json"
    assert body["request_id"] == response.headers["request-id"] == response.headers["x-request-id"]
    assert ("retry-after" in response.headers) == (status in (429, 503))
    return str(body["error"]["message"])


@pytest.fixture
def keyless(make_gateway: Any) -> httpx.AsyncClient:
    return client_of(make_gateway(), key=None)


class TestKeys:
    @pytest.mark.parametrize("headers", [{"x-api-key": LOCAL_KEY}, {"authorization": f"Bearer {LOCAL_KEY}"}])
    @pytest.mark.parametrize("path", [MESSAGES, COUNT, "/v1/alpha/messages", f"{MESSAGES}?beta=true"])
    async def test_either_header_holds_the_key(self, keyless: Any, headers: dict[str, str], path: str) -> None:
        more = {
            "anthropic-version": "2023-06-01",
            "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
        }
        response = await keyless.post(path, json=message(), headers=headers | more)
        assert response.status_code == 200
        assert response.headers["request-id"] == response.headers["x-request-id"]
        assert "x-ratelimit-limit" in response.headers

    async def test_an_empty_one_is_none(self, keyless: Any) -> None:
        headers = {"x-api-key": "", "authorization": f"Bearer {LOCAL_KEY}"}
        assert (await keyless.post(MESSAGES, json=message(), headers=headers)).status_code == 200

    async def test_other_routes_read_it_not(self, keyless: Any) -> None:
        for path in ("/v1/chat/completions", "/v1/models"):
            response = await keyless.post(path, json={}, headers={"x-api-key": LOCAL_KEY})
            assert_error(response, 401, "authentication_error", "invalid_api_key")
            assert "request-id" not in response.headers

    async def test_a_scope_holds(self, keyless: Any, relay: Any) -> None:
        headers = {"x-api-key": SCOPED_KEY}
        assert (await keyless.post(MESSAGES, json=message(model="beta"), headers=headers)).status_code == 200
        assert_anthropic_error(await keyless.post(MESSAGES, json=message(), headers=headers), 403, "permission_error")
        assert [model_id for model_id, *_ in relay.sent] == ["beta"]


class TestErrors:
    @pytest.mark.parametrize("headers", [{}, {"x-api-key": "sk-ant-api03-of-others"}, {"authorization": "Basic x"}])
    async def test_no_key_or_a_wrong_one(self, keyless: Any, headers: dict[str, str]) -> None:
        for path in (MESSAGES, COUNT, "/v1/alpha/messages"):
            response = await keyless.post(path, json=message(), headers=headers)
            assert "sk-ant" not in assert_anthropic_error(response, 401, "authentication_error")

    @pytest.mark.parametrize("path", [MESSAGES, COUNT, "/v1/alpha/messages"])
    async def test_a_route_that_the_operator_has_disabled(self, make_gateway: Any, path: str) -> None:
        gateway = make_gateway(parse_config(config_args(routes={"disabled": [MESSAGES, COUNT]})))
        async with client_of(gateway, LOCAL_KEY) as client:
            response = await client.post(path, json=message())
        assert "is disabled here" in assert_anthropic_error(response, 404, "not_found_error")

    async def test_what_is_wrong_before_an_engine_is_asked(self, client: Any, registry: Any) -> None:
        async def refused(status: int, kind: str, **request: Any) -> str:
            return assert_anthropic_error(await client.post(MESSAGES, **request), status, kind)

        await refused(400, "invalid_request_error", content=b"{")
        await refused(404, "not_found_error", json=message(model="claude-sonnet-4-5"))
        assert "`max_tokens` is missing" in await refused(400, "invalid_request_error", json=message(max_tokens=None))
        strict = message(temperature=2, surprise=1, strict_params=True)
        said = await refused(400, "invalid_request_error", json=strict)
        assert "`temperature` would become 1; `surprise` would be dropped" in said
        registry.update({"alpha": Readiness.STARTING, "beta": Readiness.VERIFIED})
        await refused(503, "overloaded_error", json=message())
        allowed = await client.get(MESSAGES)
        assert_anthropic_error(allowed, 405, "invalid_request_error")
        assert allowed.headers["allow"] == "POST"

    async def test_a_body_over_the_limit(self, make_gateway: Any) -> None:
        async with client_of(make_gateway(parse_config(config_args(limits={"max_body_bytes": 100})))) as client:
            response = await client.post(MESSAGES, content=b"x" * 200)
        assert_anthropic_error(response, 413, "request_too_large")

    async def test_a_spent_budget(self, make_gateway: Any) -> None:
        key = {"id": public_id(LOCAL_KEY), "sha256": hash_key(LOCAL_KEY), "budget": {"requests_per_minute": 1}}
        async with client_of(make_gateway(parse_config(config_args(keys=[key])))) as client:
            assert (await client.post(COUNT, json=message())).status_code == 200, "counting costs a request"
            assert_anthropic_error(await client.post(MESSAGES, json=message()), 429, "rate_limit_error")

    @pytest.mark.parametrize(
        ("code", "status", "kind"),
        [
            ("context_length_exceeded", 422, "invalid_request_error"),
            ("upstream_error", 502, "api_error"),
            ("overloaded", 503, "overloaded_error"),
            ("timeout", 504, "timeout_error"),
        ],
    )
    async def test_what_the_engine_reports(self, client: Any, relay: Any, code: str, status: int, kind: str) -> None:
        relay.items = [ApiError(code, "No.")]
        assert assert_anthropic_error(await client.post(MESSAGES, json=message()), status, kind) == "No."

    async def test_a_thread_is_refused_so_that_a_client_goes_on_without_one(self, client: Any, relay: Any) -> None:
        response = await client.post(MESSAGES, json=message(thread={"type": "create"}))
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
        assert response.json()["error"]["details"] == {
            "error_code": "thread_unsupported_request",
            "unsupported": ["thread"],
        }
        assert not relay.sent

    async def test_a_fault_of_ours(self, client: Any, relay: Any) -> None:
        relay.items = []
        assert_anthropic_error(await client.post(MESSAGES, json=message()), 500, "api_error")

    async def test_a_path_with_v1_twice_is_told_how_this_api_s_base_url_ends(self, client: Any) -> None:
        response = await client.post("/v1/v1/messages", json=message())
        said = assert_anthropic_error(response, 404, "not_found_error")
        assert "Send POST /v1/messages: the base URL has no /v1 at its end" in said


class TestStreams:
    @pytest.mark.parametrize("ending", [[], [ResponseTail(error=upstream_error().to_wire())]])
    async def test_one_that_fails_ends_with_an_event_of_the_error(self, client: Any, relay: Any, ending: Any) -> None:
        relay.items = [
            ResponseHead(200, EVENT_STREAM),
            b'event: message_start\ndata: {"type":"message_start"}\n\n',
            *ending,
        ]
        response = await client.post(MESSAGES, json=message(stream=True))
        *_, last, rest = response.text.split("\n\n")
        assert rest == ""
        kind, _, data = last.partition("\ndata: ")
        assert kind == "event: error"
        error = {"type": "api_error", "message": upstream_error().message}
        assert json.loads(data) == {"type": "error", "error": error, "request_id": response.headers["request-id"]}
        assert "[DONE]" not in response.text

    async def test_its_usage_is_charged(self, client: Any, relay: Any, log_lines: list[bytes]) -> None:
        stop = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        relay.items = [ResponseHead(200, EVENT_STREAM), stop, ResponseTail(ANSWER)]
        await client.post(MESSAGES, json=message(stream=True, metadata={"user_id": "user_1", "more": None}))
        line = json.loads(log_lines[-1])
        assert (line["prompt_tokens"], line["completion_tokens"]) == (9, 2)
        assert line["route"] == MESSAGES
        assert "user_1" in log_lines[-1].decode()


async def test_the_engine_gets_the_request_and_the_metadata_to_echo(client: Any, relay: Any) -> None:
    request = message(system="Be brief.", stop_sequences=["x"], top_k=5, metadata={"user_id": "u"}, service_tier="auto")
    response = await client.post(MESSAGES, json=request)
    assert response.headers["x-param-adjustments"] == "service_tier;action=ignore"
    ((_, head, body),) = relay.sent
    assert (head.route, head.echo) == (MESSAGES, {"metadata": {"user_id": "u"}})
    assert json.loads(body) == {
        name: value for name, value in request.items() if name not in ("metadata", "service_tier")
    }


async def test_counting_has_a_route_of_its_own_and_charges_no_tokens(
    client: Any, relay: Any, log_lines: list[bytes]
) -> None:
    relay.items = [ResponseHead(200, body=b'{"input_tokens":5}', usage={})]
    request = {name: value for name, value in message().items() if name != "max_tokens"}
    assert (await client.post(COUNT, json=request)).json() == {"input_tokens": 5}
    assert relay.sent[0][1].route == COUNT
    assert json.loads(log_lines[-1])["prompt_tokens"] is None


async def test_the_document_has_both_routes_their_keys_and_their_errors(client: Any) -> None:
    document = (await client.get("/openapi.json")).json()
    for path in (MESSAGES, COUNT):
        operation = document["paths"][path]["post"]
        assert operation["security"] == [{"key": []}, {"x-api-key": []}]
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/MessagesError"}
    scheme = document["components"]["securitySchemes"]["x-api-key"]
    assert scheme == {"type": "apiKey", "in": "header", "name": "x-api-key"}
    error = document["components"]["schemas"]["MessagesError"]["properties"]["error"]
    assert "overloaded_error" in error["properties"]["type"]["enum"]
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert chat["security"] == [{"key": []}]
    assert chat["responses"]["default"] == {"$ref": "#/components/responses/Error"}
