"""Models as the gateway finds them: the list and the cards, those that are not up or not there, and keys' scopes."""

import json
from typing import Any

import pytest

from app.upstream.registry import Readiness
from contract.profile import Profile
from tests.unit.conftest import SCOPED_KEY, assert_error, chat, client_of

CHAT = "/v1/chat/completions"


async def test_the_list_holds_the_verified_models_in_order(client: Any, registry: Any) -> None:
    assert [m["id"] for m in (await client.get("/v1/models")).json()["data"]] == ["alpha", "beta"]
    registry.update({"alpha": Readiness.STARTING, "beta": Readiness.VERIFIED})
    assert [m["id"] for m in (await client.get("/v1/models")).json()["data"]] == ["beta"]


@pytest.mark.parametrize(
    ("query", "listed"),
    [
        ("", ["alpha", "beta"]),
        ("?capability=chat", ["alpha", "beta"]),
        ("?capability=vision", ["beta"]),
        ("?capability=chat&capability=vision", ["beta"]),
        ("?capability[]=tools&capability[]=vision", []),
        ("?capability=chat,tools", ["alpha"]),
        ("?capability=speech", []),
        ("?something=else", ["alpha", "beta"]),
    ],
)
async def test_the_list_may_be_of_models_with_these_capabilities(
    client: Any, registry: Any, query: str, listed: list[str]
) -> None:
    registry.learn("beta", Profile("vllm", frozenset({"chat", "vision"})))
    assert [m["id"] for m in (await client.get("/v1/models" + query)).json()["data"]] == listed


@pytest.mark.parametrize("query", ["capability=flying", "capability=chat,", "capability="])
async def test_a_capability_that_there_is_not_is_a_400_that_names_those_there_are(client: Any, query: str) -> None:
    response = await client.get(f"/v1/models?{query}")
    assert_error(response, 400, "invalid_request_error", "invalid_value", "capability")
    message = response.json()["error"]["message"]
    assert all(one in message for one in ("chat", "embeddings", "fill_in_the_middle", "tokenize"))


async def test_a_card_has_openai_s_fields_and_what_the_model_can_do(client: Any) -> None:
    card = (await client.get("/v1/models/alpha")).json()
    assert card.pop("created") > 1_700_000_000
    assert card.pop("portico") == {
        "engine": "vllm",
        "capabilities": ["chat", "tools"],
        "unsupported": {"reasoning_effort": "the model's template does not read it"},
        "limits": {"context_length": 2048, "max_logprobs": 20, "vocabulary_size": 384},
        "chat_template_kwargs": [],
    }
    assert card == {"id": "alpha", "object": "model", "owned_by": "portico"}


async def test_a_model_that_starts_is_a_503_with_retry_after(client: Any, registry: Any) -> None:
    registry.update({"alpha": Readiness.STARTING})
    assert_error(await client.post(CHAT, json=chat()), 503, "server_error", "model_starting", "model")


async def test_a_model_that_failed_is_a_404(client: Any, registry: Any) -> None:
    registry.update({"alpha": Readiness.FAILED}, errors={"alpha": "RuntimeError: /secret"})
    response = await client.post(CHAT, json=chat())
    assert_error(response, 404, "not_found_error", "model_failed", "model")
    assert response.json()["error"]["message"].startswith("The model `alpha` failed to start.")
    assert "secret" not in response.text


@pytest.mark.parametrize("path", [CHAT, "/v1/{}/chat/completions", "/v1/models/{}"])
@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("alpa", "alpha"), ("Beta", "beta"), ("org/ALPHA", "alpha"), ("gpt-4o", None), ("a" * 500, None), ("é", None)],
    ids=lambda value: str(value)[:9],
)
async def test_an_unknown_model_is_named_and_the_nearest_is_suggested(
    client: Any, path: str, wrong: str, nearest: str | None
) -> None:
    if path != CHAT and "/" in wrong:
        return
    url = path.format(wrong)
    response = await (client.get(url) if "models" in path else client.post(url, json=chat(model=wrong)))
    assert_error(response, 404, "not_found_error", "model_not_found", "model")
    message = response.json()["error"]["message"]
    assert message.startswith(f"There is no model `{wrong.replace('é', '?')[:100]}` here.")
    assert ("Did you mean" in message) == (nearest is not None)
    assert nearest is None or f"Did you mean `{nearest}`?" in message
    assert message.endswith("GET /v1/models lists the ids.")


async def test_no_model_is_suggested_that_the_key_may_not_see(make_gateway: Any, registry: Any) -> None:
    async with client_of(make_gateway(), SCOPED_KEY) as client:
        assert "alpha" not in (await client.post(CHAT, json=chat(model="alpa"))).text
        assert "Did you mean `beta`?" in (await client.post(CHAT, json=chat(model="betta"))).text
        registry.update({"beta": Readiness.FAILED})
        assert "Did you mean" not in (await client.post(CHAT, json=chat(model="betta"))).text


async def test_no_model_is_a_400(client: Any) -> None:
    response = await client.post(CHAT, json=chat(model=None))
    assert_error(response, 400, "invalid_request_error", "missing_required_parameter", "model")


@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": "default"}, {"model": "beta"}])
async def test_a_pipeline_decides_the_model(client: Any, relay: Any, model: Any) -> None:
    body = chat() | model
    if not model:
        del body["model"]
    assert (await client.post("/v1/beta/chat/completions", json=body)).status_code == 200
    assert relay.sent[0][0] == "beta"
    assert json.loads(relay.sent[0][2])["model"] == "beta"


async def test_another_model_under_a_pipeline_is_a_400(client: Any) -> None:
    response = await client.post("/v1/beta/chat/completions", json=chat())
    assert_error(response, 400, "invalid_request_error", "invalid_value", "model")


async def test_an_unknown_pipeline_is_a_404(client: Any) -> None:
    response = await client.post("/v1/gamma/chat/completions", json=chat())
    assert_error(response, 404, "not_found_error", "model_not_found", "model")


async def test_a_scoped_key_sees_and_reaches_its_models_only(make_gateway: Any) -> None:
    async with client_of(make_gateway(), SCOPED_KEY) as client:
        assert [m["id"] for m in (await client.get("/v1/models")).json()["data"]] == ["beta"]
        assert (await client.post(CHAT, json=chat(model="beta"))).status_code == 200
        response = await client.post(CHAT, json=chat())
        assert_error(response, 403, "permission_error", "model_not_allowed")
