"""POST /v1/tokenize, /v1/detokenize and /v1/responses/input_tokens in the gateway: what counts, and what it costs."""

import json
from typing import Any

import pytest

from app.endpoints.input_tokens import IN_THE_PROMPT, INPUT_TOKENS
from app.endpoints.responses import TABLE as RESPONSES_TABLE
from app.endpoints.tokenize import MAX_CHARACTERS, TABLE
from app.parameters.adjust import Adjusted, adjust
from contract.errors import ApiError
from contract.protocol import ResponseHead
from tests.unit.conftest import client_of
from tests.unit.sample_requests import ABLE, BASE

COUNTED = {"object": "response.input_tokens", "input_tokens": 7}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * MAX_CHARACTERS}}


def adjusted(**fields: Any) -> Adjusted:
    return adjust(TABLE, fields, ABLE)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_required_parameter", "prompt"),
        ({"prompt": "a", **BASE}, "invalid_value", "messages"),
        ({**BASE, "add_generation_prompt": True, "continue_final_message": True}, "invalid_value",
         "continue_final_message"),
        ({"prompt": "a", "chat_template": "b"}, "unsupported_parameter", "chat_template"),
        ({"prompt": "a" * (MAX_CHARACTERS + 1)}, "too_large", "prompt"),
        ({"messages": [{"role": "user", "content": "a" * MAX_CHARACTERS}] * 2}, "too_large", "messages"),
        ({"messages": [{"role": "tool", "content": "a", "tool_call_id": "1"}]}, "invalid_value",
         "messages.0.tool_call_id"),
    ],
)  # fmt: skip
def test_what_is_no_text_to_tokenize_is_a_400(fields: Any, code: str, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        adjusted(**fields)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)


def test_an_image_is_no_text() -> None:
    assert adjusted(messages=[{"role": "user", "content": [IMAGE]}]).adjustments == ()


def test_what_belongs_to_messages_is_dropped_beside_a_prompt() -> None:
    (dropped,) = adjusted(prompt="a", add_generation_prompt=False).adjustments
    assert (dropped.name, dropped.action, dropped.reason) == (
        "add_generation_prompt",
        "drop",
        "it belongs to `messages`",
    )


@pytest.fixture
async def client(make_gateway: Any, registry: Any) -> Any:
    registry.learn("alpha", ABLE)
    async with client_of(make_gateway()) as client:
        yield client


async def sent(client: Any, relay: Any, path: str, **fields: Any) -> Any:
    """What the engine gets of a request."""
    relay.items = [ResponseHead(200, body=json.dumps(COUNTED).encode())]
    response = await client.post(path, json={"model": "alpha"} | fields)
    assert response.status_code == 200, response.text
    ((_, head, body),) = relay.sent
    assert head.route == path
    return response, json.loads(body)


async def test_an_open_last_message_is_not_followed_by_an_answer_s_beginning(client: Any, relay: Any) -> None:
    _, body = await sent(client, relay, "/v1/tokenize", **BASE, continue_final_message=True)
    assert body == {"model": "alpha", **BASE, "continue_final_message": True, "add_generation_prompt": False}


async def test_the_body_of_a_response_may_be_sent_as_it_is(client: Any, relay: Any) -> None:
    whole = {
        "input": "Hi", "instructions": "Be brief.", "temperature": 0.5, "max_output_tokens": 9, "stream": True,
        "store": False, "strict_params": True,
    }  # fmt: skip
    response, body = await sent(client, relay, "/v1/responses/input_tokens", **whole)
    assert response.json() == COUNTED
    assert body == {"model": "alpha", "input": "Hi", "instructions": "Be brief.", "store": False}
    assert response.headers["x-param-adjustments"] == (
        "temperature;action=ignore, max_output_tokens;action=ignore, stream;action=ignore, store;action=ignore"
    )


def test_it_takes_every_parameter_of_a_response() -> None:
    assert set(INPUT_TOKENS.table.by_name) == set(RESPONSES_TABLE.by_name) >= IN_THE_PROMPT
