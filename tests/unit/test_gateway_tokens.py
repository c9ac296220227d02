"""Requests with bearer tokens: the same scope, budget, fairness, log and page as with a key, and the same errors."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest

from app.config.service import parse_config
from app.gateway.application import Gateway
from app.keys import LOCAL_KEY
from app.tokens.subject import subject_id
from tests.console.stand_in import front
from tests.token_issuer import IssuerKey, LocalIssuer, issuing
from tests.unit.conftest import assert_error, chat, client_of, config_args

CHAT = "/v1/chat/completions"
REFUSED = (401, "authentication_error", "invalid_api_key")
RULES: list[dict[str, Any]] = [
    {"claim": "sub", "value": "mallory", "pipelines": []},
    {"claim": "groups", "value": "ml", "pipelines": ["beta"], "budget": {"requests_per_minute": 20}, "weight": 3},
    {"claim": "groups", "value": "all"},
]


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    with issuing() as issuer:
        yield issuer


@pytest.fixture
def gateway(issuer: LocalIssuer, make_gateway: Callable[..., Gateway]) -> Gateway:
    return make_gateway(parse_config(config_args(token_issuers=[issuer.entry(rules=RULES)])))


@pytest.fixture
def client(gateway: Gateway) -> httpx.AsyncClient:
    return client_of(gateway, None)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_a_token_reaches_the_models_of_its_rule_and_no_other(
    client: httpx.AsyncClient, issuer: LocalIssuer
) -> None:
    scoped, whole = bearer(issuer.token(groups=["ml"])), bearer(issuer.token(groups=["all"]))
    listed = [model["id"] for model in (await client.get("/v1/models", headers=scoped)).json()["data"]]
    assert listed == ["beta"]
    assert (await client.post(CHAT, json=chat(model="beta"), headers=scoped)).status_code == 200
    refused = await client.post(CHAT, json=chat(model="alpha"), headers=scoped)
    assert_error(refused, 403, "permission_error", "model_not_allowed")
    assert (await client.post(CHAT, json=chat(model="alpha"), headers=whole)).status_code == 200


async def test_keys_stay_good_beside_tokens(gateway: Gateway) -> None:
    async with client_of(gateway, LOCAL_KEY) as client:
        assert (await client.post(CHAT, json=chat())).status_code == 200


async def test_all_tokens_of_a_subject_share_one_budget_and_no_other_does(
    client: httpx.AsyncClient, issuer: LocalIssuer
) -> None:
    async def status(**claims: Any) -> int:
        headers = bearer(issuer.token(groups=["ml"], **claims))
        return (await client.post(CHAT, json=chat(model="beta"), headers=headers)).status_code

    assert [await status(jti=str(number)) for number in range(3)] == [200, 200, 429]
    assert await status(sub="bob") == 200


async def test_the_headers_say_what_is_left_of_the_subject_s_budget(
    client: httpx.AsyncClient, issuer: LocalIssuer
) -> None:
    response = await client.get("/v1/models", headers=bearer(issuer.token(groups=["ml"])))
    assert response.headers["x-ratelimit-limit"] == "20"


async def test_the_log_has_the_subject_s_id_and_neither_its_name_nor_the_token(
    client: httpx.AsyncClient, issuer: LocalIssuer, log_lines: list[bytes]
) -> None:
    token = issuer.token(groups=["ml"], sub="alice@example.com")
    await client.post(CHAT, json=chat(model="beta"), headers=bearer(token))
    (line,) = log_lines
    assert orjson.loads(line)["key"] == subject_id(issuer.url, "alice@example.com")
    assert b"alice" not in line
    assert not any(part.encode() in line for part in token.split("."))


async def test_a_token_that_matches_no_rule_is_a_403_that_says_so(
    client: httpx.AsyncClient, issuer: LocalIssuer
) -> None:
    response = await client.get("/v1/models", headers=bearer(issuer.token(groups=["web"])))
    assert_error(response, 403, "permission_error", "model_not_allowed")
    assert "match none of the rules" in response.json()["error"]["message"]
    assert "x-ratelimit-limit" not in response.headers


async def test_a_rule_without_models_shuts_a_subject_out(client: httpx.AsyncClient, issuer: LocalIssuer) -> None:
    headers = bearer(issuer.token(sub="mallory", groups=["all"]))
    assert (await client.get("/v1/models", headers=headers)).json()["data"] == []
    refused = await client.post(CHAT, json=chat(), headers=headers)
    assert_error(refused, 403, "permission_error", "model_not_allowed")


async def test_a_wrong_token_is_a_401_that_says_what_is_wrong_and_repeats_nothing(
    client: httpx.AsyncClient, issuer: LocalIssuer
) -> None:
    token = issuer.token(exp=int(time.time()) - 1000)
    response = await client.get("/v1/models", headers=bearer(token))
    assert_error(response, *REFUSED)
    assert "it expired 100" in response.json()["error"]["message"]
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert token.split(".")[1] not in response.text


async def test_without_any_key_the_challenge_names_no_error(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/models")
    assert_error(response, *REFUSED)
    assert response.headers["www-authenticate"] == "Bearer"


async def test_while_the_issuer_fails_a_token_is_a_503_with_retry_after(
    client: httpx.AsyncClient, issuer: LocalIssuer
) -> None:
    issuer.failure = "500"
    response = await client.get("/v1/models", headers=bearer(issuer.token(groups=["ml"])))
    assert_error(response, 503, "server_error", "issuer_unavailable")
    assert response.headers["retry-after"] == "5"


async def test_a_forged_token_gets_the_same_answer_on_every_route(
    client: httpx.AsyncClient, issuer: LocalIssuer
) -> None:
    headers = bearer(issuer.token(IssuerKey.make("first"), groups=["all"]))
    for path in ("/v1/models", "/v1/nowhere", "/v1/alpha/models"):
        assert_error(await client.get(path, headers=headers), *REFUSED)
    assert_error(await client.post(CHAT, json=chat(), headers=headers), *REFUSED)


async def test_where_no_issuer_is_trusted_a_token_is_no_key_of_this_service(
    make_gateway: Callable[..., Gateway], issuer: LocalIssuer
) -> None:
    async with client_of(make_gateway(), issuer.token()) as client:
        response = await client.get("/v1/models")
    assert_error(response, *REFUSED)
    assert "This is not a key of this service" in response.json()["error"]["message"]
    assert issuer.asked == []


async def test_anthropic_s_clients_may_send_it_as_their_key(client: httpx.AsyncClient, issuer: LocalIssuer) -> None:
    body = chat(model="beta", max_tokens=5)
    headers = {"x-api-key": issuer.token(groups=["ml"])}
    assert (await client.post("/v1/messages", json=body, headers=headers)).status_code == 200


async def test_a_subject_sees_its_own_series_of_the_metrics(
    make_gateway: Callable[..., Gateway], issuer: LocalIssuer
) -> None:
    async def page(key_id: str | None) -> bytes:
        return str(key_id).encode()

    args = config_args(token_issuers=[issuer.entry()])
    async with client_of(make_gateway(parse_config(args), metrics_page=page), issuer.token()) as client:
        assert (await client.get("/metrics")).text == subject_id(issuer.url, "alice")
        assert (await client.get("/metrics", headers=bearer("a.b.c"))).text == "None"


async def test_the_page_takes_a_token_and_shows_whose_it_is(gateway: Gateway, issuer: LocalIssuer) -> None:
    async with client_of(front(authenticate=gateway.authenticate), issuer.token(groups=["ml"])) as client:
        card = (await client.get("/console/data/key")).json()
        assert_error(await client.get("/console/data/key", headers=bearer("a.b.c")), *REFUSED)
    assert (card["id"], card["name"], card["models"]) == (subject_id(issuer.url, "alice"), "alice", ["beta"])
    assert (card["weight"], card["requests"]["per_minute"]) == (3, 20)
    assert card["expires"] is not None
