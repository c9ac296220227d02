"""sentence-transformers behind our interface: the same vectors, whoever else is in the batch."""

from typing import Any

import numpy as np
import pytest

from app.errors import ApiError
from app.project import PROJECT_FOLDER
from deployments.embedder import Embedded, Embedder, shortened

SOURCE = str(PROJECT_FOLDER / "local_models" / "pocket-embed")


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(SOURCE, {"device": "cpu"})


def embedded(result: Embedded | ApiError) -> Embedded:
    assert isinstance(result, Embedded)
    return result


def test_a_batch_gives_each_request_what_it_would_get_alone(embedder: Embedder) -> None:
    requests: list[Any] = [["the fox", "a gateway reads the request"], ["paris"], ["the fox"]]
    together = [embedded(one) for one in embedder.embed(requests)]
    for request, found in zip(requests, together, strict=True):
        alone = embedded(embedder.embed([request])[0])
        np.testing.assert_allclose(found.vectors, alone.vectors, atol=1e-6)
        assert found.tokens == alone.tokens
    np.testing.assert_allclose(together[0].vectors[0], together[2].vectors[0], atol=1e-6)


def test_a_fault_of_one_request_is_its_own(embedder: Embedder) -> None:
    good, long, strange = embedder.embed([["the fox"], ["the fox", "fox " * 300], [[10**6]]])
    assert embedded(good).vectors.shape == (1, 64)
    assert isinstance(long, ApiError)
    assert (long.status, long.code, long.param) == (422, "context_length_exceeded", "input.1")
    assert isinstance(strange, ApiError)
    assert (strange.status, strange.param) == (400, "input.0")


def test_too_many_tokens_together(embedder: Embedder) -> None:
    (error,) = embedder.embed([["fox " * 80] * 1300])
    assert isinstance(error, ApiError)
    assert (error.status, error.param) == (422, "input")


def test_a_shortened_vector_has_length_one_again() -> None:
    vectors = np.array([[3, 4, 12], [0, 0, 1]], "<f4")
    np.testing.assert_allclose(shortened(vectors, 2), [[0.6, 0.8], [0, 0]])
    assert shortened(vectors, None) is vectors
    assert shortened(vectors, 3) is vectors


def test_whether_vectors_may_be_shortened_is_the_operator_s_to_say() -> None:
    assert "dimensions" in Embedder(SOURCE, {}).profile().lacks
    assert "dimensions" not in Embedder(SOURCE, {"matryoshka": True}).profile().lacks
