"""A cross-encoder on vLLM's pooling runner: the scores of sentence-transformers, and the same errors."""

from typing import Any

import numpy as np
import pytest

from contract.options.sentence_transformers import EmbedderOptions
from contract.project import PROJECT_FOLDER
from contract.protocol import RERANK_ROUTE, SCORE_ROUTE
from deployments.sentence_transformers.reranker import Reranker, RerankingJob
from deployments.text_pairs import Scored, pairs_of
from tests.engines.replicas import served
from tests.engines.vllm_pooling_answers import answers_of

SOURCE = str(PROJECT_FOLDER / "local_models" / "pocket-rerank")
DOCUMENTS = ["a gateway reads", "the quick brown fox", "paris", "the dog sleeps in the sun"]
RERANK = {"query": "the fox", "documents": DOCUMENTS}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "rerank": (RERANK_ROUTE, RERANK),
    "best two": (RERANK_ROUTE, RERANK | {"top_n": 2, "return_documents": False}),
    "one with many": (SCORE_ROUTE, {"text_1": "the fox", "text_2": DOCUMENTS}),
    "one with one": (SCORE_ROUTE, {"text_1": "the fox", "text_2": "paris"}),
    "each with its own": (SCORE_ROUTE, {"text_1": ["the fox", "paris"], "text_2": ["paris", "the fox"]}),
    "cut": (SCORE_ROUTE, {"text_1": "the fox", "text_2": ["the " * 1000], "max_tokens_per_doc": 7}),
    "its beginning": (SCORE_ROUTE, {"text_1": "the fox", "text_2": ["the the the the the the the"]}),
    "long document": (RERANK_ROUTE, RERANK | {"documents": ["paris", "fox " * 300]}),
    "long query": (SCORE_ROUTE, {"text_1": "fox " * 300, "text_2": "paris"}),
    "too many tokens": (RERANK_ROUTE, RERANK | {"documents": ["the " * 200] * 1500}),
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return answers_of("rerank", SOURCE, REQUESTS)


@pytest.fixture(scope="module")
def reranker() -> Reranker:
    return Reranker(served("sentence-transformers", SOURCE), EmbedderOptions(device="cpu"))


def of_sentence_transformers(reranker: Reranker, name: str) -> Scored:
    (scored,) = reranker.score([RerankingJob(pairs_of(*REQUESTS[name]))])
    assert isinstance(scored, Scored)
    return scored


def body(found: dict[str, Any], name: str) -> dict[str, Any]:
    assert found[name]["error"] is None
    return found[name]["body"]


@pytest.mark.parametrize("name", ["one with many", "one with one", "each with its own", "cut"])
def test_scores_and_usage_are_those_of_sentence_transformers(found: Any, reranker: Reranker, name: str) -> None:
    answer, expected = body(found, name), of_sentence_transformers(reranker, name)
    assert [one["index"] for one in answer["data"]] == list(range(len(expected.scores)))
    np.testing.assert_allclose([one["score"] for one in answer["data"]], expected.scores, atol=1e-4)
    assert answer["usage"] == expected.usage
    assert (answer["object"], answer["model"]) == ("list", "pocket-rerank")


def test_rerank_sorts_as_sentence_transformers_would(found: Any, reranker: Reranker) -> None:
    scores = of_sentence_transformers(reranker, "rerank").scores
    results = body(found, "rerank")["results"]
    assert [one["index"] for one in results] == list(np.argsort(-np.array(scores)))
    assert [one["document"]["text"] for one in results] == [DOCUMENTS[one["index"]] for one in results]
    best = [{name: one[name] for name in ("index", "relevance_score")} for one in results[:2]]
    assert [one["index"] for one in body(found, "best two")["results"]] == [one["index"] for one in best]
    assert all(set(one) == {"index", "relevance_score"} for one in body(found, "best two")["results"])


def test_a_document_is_cut_to_the_tokens_that_are_asked_for(found: Any) -> None:
    (cut,), (beginning,) = body(found, "cut")["data"], body(found, "its beginning")["data"]
    assert cut["score"] == pytest.approx(beginning["score"], abs=1e-5)
    assert body(found, "cut")["usage"] == body(found, "its beginning")["usage"]


@pytest.mark.parametrize(
    ("name", "place"), [("long document", "documents.1"), ("long query", "text_1"), ("too many tokens", "documents")]
)
def test_what_is_too_long_is_named(found: Any, name: str, place: str) -> None:
    error = found[name]["error"]
    assert (found[name]["status"], error["code"], error["param"]) == (422, "context_length_exceeded", place)


def test_what_the_model_can_do_is_found(found: Any) -> None:
    profile = found["profile"]
    assert profile["capabilities"] == ["rerank"]
    assert profile["lacks"] == {}
    assert set(profile["limits"]) == {"context_length", "vocabulary_size"}
    assert profile["limits"]["context_length"] == 256
