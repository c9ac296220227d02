"""Paths and methods: which are routes, and what the others get."""

import pytest

from app.endpoints import openapi
from app.endpoints.catalog import ENDPOINTS
from app.endpoints.chat import CHAT
from app.endpoints.endpoint import Endpoint
from app.endpoints.rerank import RERANK
from app.endpoints.routes import HEALTH, METRICS, MODEL_CARD, MODEL_LIST, READY, Match, Router
from contract.errors import ApiError
from contract.protocol import ENDPOINT_ROUTES

match = Router().match


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("POST", "/v1/chat/completions", Match(CHAT)),
        ("POST", "/v1/alpha/chat/completions", Match(CHAT, pipeline="alpha")),
        ("POST", "/v1/rerank", Match(RERANK)),
        ("POST", "/v2/rerank", Match(RERANK)),
        ("GET", "/v1/models", Match(MODEL_LIST)),
        ("GET", "/v1/alpha/models", Match(MODEL_LIST, pipeline="alpha")),
        ("GET", "/v1/models/alpha", Match(MODEL_CARD, model_id="alpha")),
        ("GET", "/v1/alpha/models/alpha", Match(MODEL_CARD, pipeline="alpha", model_id="alpha")),
        ("GET", "/health", Match(HEALTH)),
        ("HEAD", "/health", Match(HEALTH)),
        ("GET", "/ready", Match(READY)),
        ("GET", "/metrics", Match(METRICS)),
    ],
)
def test_a_route_is_found(method: str, path: str, found: Match) -> None:
    assert match(method, path) == found


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v2/models", "/v1/edits", "/v1/files",
     "/v1/assistants", "/v1/models/", "/v1/models/a/b",
     "/v1//chat/completions", "/v1/a/b/chat/completions", "/v1/alpha/health",
      "/chat/completions", "/v1/chat", "/v2/alpha/rerank", "/v1/alpha/v2/rerank", "/v2/score", "/é" * 200],
)  # fmt: skip
def test_anything_else_is_unknown(path: str) -> None:
    with pytest.raises(ApiError) as caught:
        match("GET", path)
    assert caught.value.code == "unknown_url"
    assert len(caught.value.message) < 250
    assert caught.value.message.isascii()


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", "/v1/chat/completions", "POST"), ("DELETE", "/v1/models/a", "GET"), ("POST", "/health", "GET")],
)
def test_a_wrong_method_is_told_the_right_one(method: str, path: str, allow: str) -> None:
    with pytest.raises(ApiError) as caught:
        match(method, path)
    assert (caught.value.code, caught.value.allow) == ("method_not_allowed", allow)


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("/v1/chat/completion", "POST /v1/chat/completions"),
        ("/v1/model", "GET /v1/models"),
        ("/healthz", "GET /health"),
    ],
)
def test_an_unknown_path_gets_the_nearest_route(path: str, nearest: str) -> None:
    with pytest.raises(ApiError, match=f"The nearest is {nearest}[.]"):
        match("GET", path)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/v1/chat/completions", "POST /v1/chat/completions"),
        ("/v1/v1/models", "GET /v1/models"),
        ("/v1/v1/v1/models/alpha", "GET /v1/models/alpha"),
        ("/v1/alpha/v1/chat/completions", "POST /v1/alpha/chat/completions"),
    ],
)
def test_a_path_with_v1_twice_says_so_and_names_the_right_one(path: str, route: str) -> None:
    with pytest.raises(
        ApiError, match=f"{path} has /v1 more than once. Send {route}: the base URL ends in /v1"
    ) as caught:
        match("POST", path)
    assert caught.value.code == "unknown_url"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/chat/completions", "POST /v1/chat/completions"),
        ("/alpha/chat/completions", "POST /v1/alpha/chat/completions"),
        ("/images/generations", "POST /v1/images/generations"),
        ("/models", "GET /v1/models"),
        ("/models/alpha", "GET /v1/models/alpha"),
    ],
)
def test_a_path_without_v1_says_so_and_names_the_right_one(path: str, route: str) -> None:
    with pytest.raises(ApiError, match=f"{path} lacks /v1 at its beginning. Send {route}: the base URL ends in /v1"):
        match("POST", path)


def test_each_endpoint_is_a_route_and_has_a_path_of_its_own() -> None:
    assert [match("POST", endpoint.path).route for endpoint in ENDPOINTS] == list(ENDPOINTS)


def test_they_are_those_that_the_gateway_and_the_replicas_speak_of() -> None:
    assert {endpoint.path for endpoint in ENDPOINTS} == set(ENDPOINT_ROUTES)


@pytest.mark.parametrize("disabled", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_a_disabled_route_is_none_and_says_so(disabled: Endpoint) -> None:
    router = Router(disabled=[disabled.path])
    for path in (*disabled.paths, disabled.path.replace("/v1/", "/v1/alpha/")):
        with pytest.raises(ApiError, match=rf"POST {path} is disabled here by the operator's configuration") as caught:
            router.match("POST", path)
        assert caught.value.code == "unknown_url"
    assert openapi.document(router.routes)["paths"].keys().isdisjoint(disabled.paths)
    assert all(router.match("POST", other.path).route is other for other in ENDPOINTS if other is not disabled)
