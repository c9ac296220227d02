"""vLLM's pooling runner behind our interface: the vectors of sentence-transformers, and the same errors."""

import base64
from typing import Any

import numpy as np
import pytest

from contract.options.sentence_transformers import EmbedderOptions
from contract.project import PROJECT_FOLDER
from contract.protocol import EMBEDDINGS_ROUTE
from deployments.sentence_transformers.embedder import Embedded, Embedder, EmbeddingJob
from tests.engines.replicas import served
from tests.engines.vllm_pooling_answers import answers_of

SOURCE = str(PROJECT_FOLDER / "local_models" / "pocket-embed")
TEXTS = ["the quick brown fox", "a gateway reads the request", "paris"]
REQUESTS: dict[str, dict[str, Any]] = {
    "floats": {"input": TEXTS, "encoding_format": "float"},
    "base64": {"input": TEXTS, "encoding_format": "base64"},
    "one text": {"input": TEXTS[1]},
    "token ids": {"input": [2, 7, 8, 3]},
    "arrays of token ids": {"input": [[2, 8, 7, 3], [2, 7, 8, 3]]},
    "shortened": {"input": TEXTS, "dimensions": 16},
    "too long": {"input": ["fox", "fox " * 400]},
    "unknown token": {"input": [[7], [10**6]]},
    "too many tokens": {"input": ["fox " * 80] * 1300},
}
TOKENS: dict[str, tuple[str, Any]] = {
    "tokens of a text": ("/v1/tokenize", {"prompt": TEXTS[0]}),
    "text of tokens": ("/v1/detokenize", {"tokens": [7, 8]}),
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """The profile of a replica, and what it answered to each request; all of them were asked at once."""
    requests = {name: (EMBEDDINGS_ROUTE, body) for name, body in REQUESTS.items()} | TOKENS
    return answers_of("embeddings", SOURCE, requests, hf_overrides={"is_matryoshka": True})


@pytest.fixture(scope="module")
def vectors() -> Any:
    """What sentence-transformers makes of the texts."""
    (made,) = Embedder(served("sentence-transformers", SOURCE), EmbedderOptions(device="cpu")).embed(
        [EmbeddingJob(list(TEXTS))]
    )
    assert isinstance(made, Embedded)
    return made


def rows(answer: dict[str, Any]) -> Any:
    assert answer["error"] is None
    assert [item["index"] for item in answer["body"]["data"]] == list(range(len(answer["body"]["data"])))
    return np.array([item["embedding"] for item in answer["body"]["data"]])


def test_vectors_are_those_of_sentence_transformers_in_order(found: Any, vectors: Any) -> None:
    np.testing.assert_allclose(rows(found["floats"]), vectors.vectors, atol=1e-4)
    assert set(found["floats"]["body"]) == {"object", "data", "model", "usage"}
    assert found["floats"]["body"]["model"] == "pocket-embed"
    assert found["floats"]["body"]["usage"] == {"prompt_tokens": vectors.tokens, "total_tokens": vectors.tokens}
    np.testing.assert_allclose(rows(found["one text"])[0], vectors.vectors[1], atol=1e-4)


def test_base64_holds_the_same_numbers(found: Any) -> None:
    data = found["base64"]["body"]["data"]
    decoded = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in data]
    np.testing.assert_allclose(decoded, rows(found["floats"]), atol=1e-6)


def test_token_ids_are_taken_as_they_are(found: Any) -> None:
    (one,), (other, same) = rows(found["token ids"]), rows(found["arrays of token ids"])
    np.testing.assert_allclose(one, same, atol=1e-5)
    assert np.abs(one - other).max() > 1e-3
    assert found["token ids"]["body"]["usage"]["prompt_tokens"] == 4


def test_the_ids_of_a_text_give_its_vector_on_either_engine(found: Any) -> None:
    embedder = Embedder(served("sentence-transformers", SOURCE), EmbedderOptions(device="cpu"))
    (made,) = embedder.embed([EmbeddingJob([[2, 8, 7, 3], [2, 7, 8, 3]])])
    assert isinstance(made, Embedded)
    np.testing.assert_allclose(rows(found["arrays of token ids"]), made.vectors, atol=1e-4)


def test_the_tokens_of_a_text_give_its_vector(found: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SOURCE)
    body = found["tokens of a text"]["body"]
    assert body == {
        "tokens": tokenizer(TEXTS[0])["input_ids"], "count": len(body["tokens"]), "max_model_len": 256,
        "token_strs": None,
    }  # fmt: skip
    assert found["text of tokens"]["body"] == {"prompt": tokenizer.decode([7, 8])}


def test_shortened_vectors_have_length_one_again(found: Any) -> None:
    cut = rows(found["floats"])[:, :16]
    expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    np.testing.assert_allclose(rows(found["shortened"]), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("request_name", "status", "code", "param"),
    [
        ("too long", 422, "context_length_exceeded", "input.1"),
        ("unknown token", 400, "invalid_value", "input.1"),
        ("too many tokens", 422, "context_length_exceeded", "input"),
    ],
)
def test_what_cannot_be_embedded(found: Any, request_name: str, status: int, code: str, param: str) -> None:
    error = found[request_name]["error"]
    assert (found[request_name]["status"], error["code"], error["param"]) == (status, code, param)


def test_what_the_model_can_do_is_found(found: Any) -> None:
    profile = found["profile"]
    assert profile["capabilities"] == ["embeddings", "tokenize"]
    assert profile["lacks"] == {}
    assert profile["limits"] == {
        "context_length": 256,
        "dimensions": 64,
        "vocabulary_size": profile["limits"]["vocabulary_size"],
    }
