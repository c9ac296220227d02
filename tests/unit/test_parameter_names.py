"""Parameters that clients have several names for: an error has the one that was sent."""

from typing import Any

import pytest

from contract.errors import ApiError
from contract.profile import Profile
from tests.sample_images import PNG, data_url
from tests.unit.conftest import assert_error

PROFILE = Profile("vllm", frozenset({"rerank"}), limits={"context_length": 256})
EDITOR = Profile("diffusers", frozenset({"edits"}))
IMAGES = [{"image_url": data_url(PNG)}] * 2
RERANK, SCORE, EDITS = "/v1/rerank", "/v1/score", "/v1/images/edits"


@pytest.mark.parametrize(
    ("path", "request_", "place", "sent"),
    [
        (RERANK, {"query": "q", "texts": ["a"]}, "documents.3", "texts.3"),
        (RERANK, {"query": "q", "texts": ["a"]}, "documents", "texts"),
        (RERANK, {"query": "q", "texts": ["a"]}, "query", "query"),
        (RERANK, {"query": "q", "documents": ["a"]}, "documents.3", "documents.3"),
        (SCORE, {"queries": ["q"], "documents": ["a"]}, "text_1", "queries"),
        (SCORE, {"queries": ["q"], "documents": ["a"]}, "text_2.0", "documents.0"),
        (SCORE, {"text_1": "q", "data_2": "a"}, "text_1.0", "text_1.0"),
        (SCORE, {"text_1": "q", "data_2": "a"}, "text_2.0", "data_2.0"),
        (EDITS, {"prompt": "a boat", "images": IMAGES[:1]}, "image.0", "images.0"),
        (EDITS, {"prompt": "a boat", "images": IMAGES[:1], "image": None}, "image.0", "images.0"),
    ],
)
async def test_an_engine_s_error_has_the_name_that_was_sent(
    client: Any, registry: Any, relay: Any, path: str, request_: Any, place: str, sent: str
) -> None:
    registry.learn("alpha", EDITOR if path == EDITS else PROFILE)
    relay.items = [ApiError("context_length_exceeded", f"`{place}` has 300 tokens. Shorten it.", param=place)]
    response = await client.post(path, json={"model": "alpha"} | request_)
    assert_error(response, 422, "invalid_request_error", "context_length_exceeded", sent)
    assert response.json()["error"]["message"] == f"`{sent}` has 300 tokens. Shorten it."


async def test_so_has_an_error_over_several_parameters(client: Any, registry: Any) -> None:
    registry.learn("alpha", PROFILE)
    request = {"model": "alpha", "queries": ["a", "b"], "items": ["c"]}
    response = await client.post(SCORE, json=request)
    assert_error(response, 400, "invalid_request_error", "invalid_value", "items")
    assert response.json()["error"]["message"] == (
        "`queries` has 2 texts and `items` has 1. Send one text in `queries`, which is compared with each of `items`, "
        "or as many in both."
    )


async def test_so_has_an_error_of_the_gateway_s_own(client: Any, registry: Any) -> None:
    registry.learn("alpha", EDITOR)
    many = await client.post(EDITS, json={"model": "alpha", "prompt": "a boat", "images": IMAGES})
    assert_error(many, 400, "invalid_request_error", "unsupported_capability", "images.1")
    bad = await client.post(EDITS, json={"model": "alpha", "prompt": "a boat", "images": [data_url(b"no image")]})
    assert_error(bad, 422, "invalid_request_error", "invalid_image", "images.0")
    assert "image.0" not in bad.json()["error"]["message"]


async def test_a_parameter_that_was_not_sent_has_the_name_that_is_documented(client: Any, registry: Any) -> None:
    registry.learn("alpha", PROFILE)
    response = await client.post(RERANK, json={"model": "alpha", "query": "q"})
    assert_error(response, 400, "invalid_request_error", "missing_required_parameter", "documents")


async def test_one_parameter_under_two_names_is_refused_by_both(client: Any, registry: Any) -> None:
    registry.learn("alpha", PROFILE)
    request = {"model": "alpha", "query": "q", "documents": ["a"], "texts": ["a"]}
    response = await client.post(RERANK, json=request)
    assert_error(response, 400, "invalid_request_error", "invalid_value", "texts")
    message = "`texts` and `documents` are names of one parameter. Send it once."
    assert response.json()["error"]["message"] == message
