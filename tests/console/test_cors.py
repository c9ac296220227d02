"""Pages of other origins: who is allowed gets preflights answered and answers to read; nobody is, by default."""

from typing import Any

import pytest

from app.config.service import parse_config
from contract.fields import ConfigError
from tests.console.stand_in import config, front
from tests.unit.conftest import client_of

ORIGIN = "https://app.example.com"
PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}
CHAT = "/v1/chat/completions"


async def requested(method: str, headers: dict[str, str], allowed: list[str], path: str = CHAT) -> Any:
    async with client_of(front(cors={"allowed_origins": allowed}), key=None) as client:
        return await client.request(method, path, headers=headers)


def cors_headers(response: Any) -> list[str]:
    return sorted(name for name in response.headers if name.startswith("access-control-"))


async def test_a_preflight_of_an_allowed_origin_is_answered_before_a_key_is_asked_for() -> None:
    response = await requested("OPTIONS", PREFLIGHT, [ORIGIN])
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in response.headers["access-control-allow-methods"]
    # An asterisk alone would leave out this one header.
    assert response.headers["access-control-allow-headers"] == "Authorization, *"
    assert int(response.headers["access-control-max-age"]) > 0
    assert "Origin" in response.headers.get_list("vary")
    assert len(response.headers["x-request-id"]) == 36


async def test_an_allowed_origin_may_read_the_answer_and_all_of_its_headers() -> None:
    response = await requested("POST", {"origin": ORIGIN}, [ORIGIN])
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["access-control-expose-headers"] == "*"
    assert "access-control-allow-credentials" not in response.headers


async def test_the_console_s_own_answers_are_no_exception() -> None:
    response = await requested("GET", {"origin": ORIGIN}, [ORIGIN], "/console/data/key")
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (401, ORIGIN)


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
@pytest.mark.parametrize("origin", ["https://evil.example.com", "https://app.example.com.evil.com", "null"])
async def test_another_origin_gets_nothing(method: str, origin: str) -> None:
    response = await requested(method, PREFLIGHT | {"origin": origin}, [ORIGIN])
    assert cors_headers(response) == []
    assert response.status_code == 404  # of what stands behind


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
async def test_by_default_no_origin_is_allowed(method: str) -> None:
    assert cors_headers(await requested(method, PREFLIGHT, [])) == []


async def test_a_request_that_is_no_page_s_is_left_alone() -> None:
    assert cors_headers(await requested("POST", {}, [ORIGIN])) == []


async def test_an_options_request_that_is_no_preflight_goes_its_way() -> None:
    response = await requested("OPTIONS", {"origin": ORIGIN}, [ORIGIN])
    assert response.status_code == 404


async def test_an_asterisk_allows_every_origin() -> None:
    response = await requested("OPTIONS", PREFLIGHT, ["*"])
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (204, "*")


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://app.example.com/path", "ftp://a.example.com", "https://"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"cors\.allowed_origins"):
        parse_config(config().model_dump(mode="json") | {"cors": {"allowed_origins": [origin]}})
