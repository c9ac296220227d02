"""Bearer tokens of an issuer that the running service trusts: it asks the issuer for keys, and follows them."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app.tokens.signed_token import MAX_LENGTH
from tests.conftest import Service
from tests.contract.conftest import MESSAGES, MODEL, VISION_MODEL
from tests.token_issuer import IssuerKey, LocalIssuer
from tests.unit.conftest import assert_error

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 2}
REFUSED = (401, "authentication_error", "invalid_api_key")

Send = Callable[..., httpx.Response]


@pytest.fixture
def send(service: Service) -> Send:
    """A chat request with a token, on a connection of its own."""

    def post(token: str, **changes: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"}
        return httpx.post(f"http://127.0.0.1:{service.port}{CHAT}", json=BODY | changes, headers=headers, timeout=60)

    return post


def test_a_token_may_do_what_its_rule_says(send: Send, token_issuer: LocalIssuer) -> None:
    token = token_issuer.token(groups=["chat"])
    answered = send(token)
    assert answered.status_code == 200, answered.text
    assert answered.headers["x-ratelimit-limit-requests"]
    assert_error(send(token, model=VISION_MODEL), 403, "permission_error", "model_not_allowed")
    assert_error(send(token_issuer.token(groups=["web"])), 403, "permission_error", "model_not_allowed")


def test_a_forged_token_is_refused_by_name(send: Send, token_issuer: LocalIssuer) -> None:
    refused = send(token_issuer.token(IssuerKey.make(token_issuer.keys[0].id), groups=["chat"]))
    assert_error(refused, *REFUSED)
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_a_token_of_a_new_key_is_good_at_once_and_while_the_issuer_fails(send: Send, token_issuer: LocalIssuer) -> None:
    token_issuer.rotate("second", keep=True)
    token = token_issuer.token(groups=["chat"])
    assert send(token).status_code == 200
    token_issuer.failure = "500"
    try:
        assert send(token).status_code == 200
        assert send(token_issuer.token(groups=["chat"], jti="another")).status_code == 200
    finally:
        token_issuer.failure = None


def test_a_long_token_passes_every_server_on_the_way_and_a_longer_one_is_refused_by_name(
    send: Send, token_issuer: LocalIssuer
) -> None:
    def padded(length: int) -> str:
        short = len(token_issuer.token(groups=["chat"], padding=""))
        return token_issuer.token(groups=["chat"], padding="p" * ((length - short) * 3 // 4 - 1))

    longest = padded(MAX_LENGTH)
    assert MAX_LENGTH - 8 < len(longest) <= MAX_LENGTH
    assert send(longest).status_code == 200
    refused = send(padded(MAX_LENGTH + 500))
    assert_error(refused, *REFUSED)
    assert f"longer than {MAX_LENGTH}" in refused.json()["error"]["message"]
