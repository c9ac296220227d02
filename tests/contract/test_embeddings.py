"""POST /v1/embeddings with the openai package, on a real model of random weights."""

import asyncio
import base64
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from app.keys import LOCAL_KEY
from tests.conftest import Service
from tests.contract.conftest import EMBEDDING_MODEL, MESSAGES, MODEL
from tests.unit.conftest import assert_error

EMBEDDINGS = "/v1/embeddings"
TEXTS = ["the quick brown fox", "a gateway reads the request", "paris"]


def body_of(**changes: Any) -> dict[str, Any]:
    return {"model": EMBEDDING_MODEL, "input": TEXTS} | changes


def close_to(vector: Any) -> Any:
    return pytest.approx(vector, abs=1e-6)


def test_texts_become_vectors_in_their_order(client: Any) -> None:
    answer = client.embeddings.create(**body_of(), encoding_format="float")
    assert (answer.object, answer.model) == ("list", EMBEDDING_MODEL)
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert {len(item.embedding) for item in answer.data} == {64}
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 9
    for item, text in zip(answer.data, TEXTS, strict=True):
        (alone,) = client.embeddings.create(**body_of(input=text), encoding_format="float").data
        assert alone.embedding == close_to(item.embedding)
        assert sum(number * number for number in item.embedding) == pytest.approx(1, abs=1e-5)


def test_base64_holds_the_same_numbers(service: Service, client: Any) -> None:
    """The client requests base64 by default, and turns it into numbers."""
    floats = client.embeddings.create(**body_of(), encoding_format="float")
    with openai.OpenAI(base_url=service.base_url, api_key=LOCAL_KEY, max_retries=0) as usual:
        decoded = usual.embeddings.create(**body_of())
    for one, other in zip(floats.data, decoded.data, strict=True):
        assert one.embedding == close_to(other.embedding)


def test_base64_on_the_wire_is_four_bytes_a_number(http: httpx.Client) -> None:
    answer = http.post(EMBEDDINGS, json=body_of(encoding_format="base64")).json()
    assert {len(item["embedding"]) for item in answer["data"]} == {344}  # 64 numbers of 4 bytes


def test_token_ids_stand_for_their_text(client: Any) -> None:
    one = client.embeddings.create(**body_of(input=[7, 8, 9]), encoding_format="float")
    two = client.embeddings.create(**body_of(input=[[7, 8, 9], [9, 8, 7]]), encoding_format="float")
    assert len(one.data) == 1
    assert one.data[0].embedding == close_to(two.data[0].embedding)
    assert one.data[0].embedding != close_to(two.data[1].embedding)


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_dimensions_shorten_vectors_which_then_have_length_one_again(
    client: Any, http: httpx.Client, encoding_format: str
) -> None:
    response = http.post(EMBEDDINGS, json=body_of(dimensions=16, encoding_format=encoding_format))
    assert "x-param-adjustments" not in response.headers
    whole = client.embeddings.create(**body_of(), encoding_format="float")
    for short, long in zip(response.json()["data"], whole.data, strict=True):
        given = short["embedding"]
        vector = np.frombuffer(base64.b64decode(given), "<f4") if encoding_format == "base64" else np.array(given)
        first = np.array(long.embedding[:16])
        np.testing.assert_allclose(vector, first / np.linalg.norm(first), atol=1e-6)


def test_more_dimensions_than_there_are_become_all_of_them(http: httpx.Client) -> None:
    response = http.post(EMBEDDINGS, json=body_of(dimensions=65))
    assert len(response.json()["data"][0]["embedding"]) == 64
    assert response.headers["x-param-adjustments"] == "dimensions;action=clamp;from=65;to=64"


def test_two_thousand_texts_in_one_request(client: Any) -> None:
    answer = client.embeddings.create(**body_of(input=["fox"] * 2048), encoding_format="float")
    assert len(answer.data) == 2048


async def test_requests_at_once_each_get_their_own(async_client: Any) -> None:
    texts = [f"{number} fox" for number in range(40)]
    requests = (async_client.embeddings.create(**body_of(input=text), encoding_format="float") for text in texts)
    together = await asyncio.gather(*requests)
    whole = await async_client.embeddings.create(**body_of(input=texts), encoding_format="float")
    for one, other in zip(together, whole.data, strict=True):
        assert one.data[0].embedding == close_to(other.embedding)


def test_it_answers_under_its_pipeline(http: httpx.Client) -> None:
    answer = http.post(f"/v1/{EMBEDDING_MODEL}/embeddings", json={"input": "fox"}).json()
    assert answer["model"] == EMBEDDING_MODEL


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"input": ""}, 400, "invalid_value", "input"),
        ({"input": []}, 400, "invalid_value", "input"),
        ({"input": None}, 400, "missing_required_parameter", "input"),
        ({"input": ["fox", ""]}, 400, "invalid_value", "input.1"),
        ({"input": [[]]}, 400, "invalid_value", "input.0"),
        ({"input": ["fox", 7]}, 400, "invalid_type", "input.1"),
        ({"input": ["fox"] * 2049}, 400, "invalid_value", "input"),
        ({"input": [[10**9]]}, 400, "invalid_value", "input.0"),
        ({"input": ["fox", "fox " * 400]}, 422, "context_length_exceeded", "input.1"),
        ({"encoding_format": "hex"}, 400, "invalid_value", "encoding_format"),
        ({"model": MODEL}, 400, "unsupported_capability", "input"),
    ],
)
def test_what_cannot_be_embedded(http: httpx.Client, changes: Any, status: int, code: str, param: str) -> None:
    assert_error(http.post(EMBEDDINGS, json=body_of(**changes)), status, "invalid_request_error", code, param)


@pytest.mark.parametrize(
    ("route", "body"), [("chat/completions", {"messages": MESSAGES}), ("responses", {"input": "hi"})]
)
def test_an_embedding_model_does_not_chat(http: httpx.Client, route: str, body: Any) -> None:
    response = http.post(f"/v1/{route}", json=body | {"model": EMBEDDING_MODEL})
    assert_error(response, 400, "invalid_request_error", "unsupported_capability", next(iter(body)))
