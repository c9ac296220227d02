"""Errors: what a client sent never makes one long."""

from typing import Any

import pytest

from contract.errors import MAX_MESSAGE_LENGTH, MAX_PARAM_LENGTH, ApiError
from tests.unit.conftest import chat, client_of

LONG = "x" * 60_000


def test_message_and_param_are_cut_wherever_the_error_was_raised() -> None:
    error = ApiError("invalid_value", f"`{LONG}` is unknown.", param=LONG)
    for one in (error, ApiError.from_wire(error.to_wire()), ApiError.from_wire(error.to_wire() | {"message": LONG})):
        assert len(one.message) == MAX_MESSAGE_LENGTH
        assert one.param is not None
        assert len(one.param) == MAX_PARAM_LENGTH
    assert ApiError("invalid_value", "short").message == "short"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (LONG, "/v1/models", None),
        (LONG, "/v1/nowhere", None),
        ("GET", f"/v1/{LONG}", None),
        ("GET", f"/v1/{LONG}/models", None),
        ("GET", f"/v1/models/{LONG}", None),
        ("POST", "/v1/chat/completions", chat(model=LONG)),
        ("POST", f"/v1/{LONG}/chat/completions", chat()),
        ("POST", "/v1/beta/chat/completions", chat(model=LONG)),
        ("POST", "/v1/chat/completions", chat(**{LONG: 1}, strict_params=True)),
        ("POST", "/v1/chat/completions", chat(**{f"runinfra{LONG}": 1})),
        ("POST", "/v1/chat/completions", chat(stream_options={LONG: 1}, stream=True, strict_params=True)),
        ("POST", "/v1/chat/completions", chat(logit_bias={LONG: 1})),
        ("POST", "/v1/chat/completions", chat(metadata={LONG: "1"})),
        ("POST", "/v1/chat/completions", chat(verbosity=LONG)),
        ("POST", "/v1/chat/completions", chat(messages=[{"role": LONG, "content": "hi"}])),
        ("POST", "/v1/responses", {"model": "alpha", "input": [{"type": LONG}]}),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_no_error_repeats_what_is_long(make_gateway: Any, method: str, path: str, body: Any) -> None:
    async with client_of(make_gateway()) as client:
        response = await client.request(method, path, json=body)
    assert response.status_code >= 400
    assert len(response.content) < 4096
    assert sum(len(name) + len(value) for name, value in response.headers.items()) < 8192
